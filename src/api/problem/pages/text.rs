//! The pages as Markdown and JSON, and `docs/errors.md`.
//!
//! One function writes a code's section, for the page served and for the file alike. Limits: the file is the generated one that
//! `make docs` writes; whoever edits it by hand is corrected by `make docs-check`.

use std::fmt::Write;

use serde::Serialize;

use super::super::{Code, Document, Problem};

const PREAMBLE: &str = "Every failure of `/v1`, `/docs`, `/openapi.json`, `/problems` and `/.well-known` is a problem document (RFC \
9457, `application/problem+json`) with the members `type`, `title`, `status`, `detail`, `instance`, `code`, `request_id`, \
`retryable`, and, where Redis is concerned, `outcome` and `attempts`. `type` leads to a page of this list, served by the \
service itself at `/problems/{code}`, without a credential. The header `Collective-Outcome` repeats `outcome`; `Retry-After` is \
computed, in whole seconds rounded up.

Everything else is the command dialect and answers `{\"error\": \"...\"}` with the same statuses and headers.

`not_executed`: it changed nothing and never will, anyone may send it again. `unknown`: it may have happened. `executed`: Redis \
answered definitely after effects.

## Bounds on a request

| what | bound | answer |
|---|---|---|
| path and query | 8192 bytes | 414 |
| head | `limits.head`, `limits.head_fields` | 431 |
| body | `limits.body` | 413 |
| one argument of a command | `limits.argument` | 413 |
| commands in a batch | `limits.batch_commands` | 413 |
| time for the body | `server.body_timeout` | 408 |

Who is calling is settled before a body is read. A refusal that comes before the body was read closes the connection; the rest \
of the body is read and thrown away for `server.client_disconnect_timeout`, so that a client still sending gets its answer. A \
body on `GET`, `HEAD`, `DELETE` or `OPTIONS` of `/v1` is refused, not ignored. `Authorization` and `X-Request-Timeout-Ms` may be \
there once.
";

/// `docs/errors.md`.
pub fn markdown() -> String {
    let mut page =
        format!("# Errors of `/v1`\n\n{PREAMBLE}\n## Codes\n\n{}", table(|code| format!("[`{code}`](#{code})")));
    for code in Code::ALL {
        let _ = write!(page, "\n### {}\n\n{}", code.row().code, section(*code));
    }
    page
}

/// `/problems`
pub(super) fn list() -> String {
    format!("# Problems\n\n{PREAMBLE}\n## Codes\n\n{}", table(|code| format!("[`{code}`]({}{code})", super::PREFIX)))
}

/// `/problems/{code}`
pub(super) fn page(code: Code) -> String {
    format!("# {}\n\n{}\nAll problems: /problems\n", code.row().title, section(code))
}

fn table(link: impl Fn(&str) -> String) -> String {
    let mut table = String::from("| code | status | what happened | way out | again? |\n|---|---|---|---|---|\n");
    for row in Code::ALL.iter().map(|code| code.row()) {
        let (link, again) = (link(row.code), row.again.words());
        let _ = writeln!(table, "| {link} | {} | {} | {} | {again} |", row.status, row.title, row.way_out);
    }
    table
}

fn section(code: Code) -> String {
    let row = code.row();
    let again = row.again;
    format!(
        "`{}`, status {}.\n\n**What happened.** {}\n\n**The way out.** {}\n\n**May it be sent again?** {}. {}\n\n```json\n{}\n```\n",
        row.code,
        row.status,
        row.happened,
        row.way_out,
        again.words(),
        again.explanation(),
        example(code),
    )
}

/// The example document, indented.
pub(super) fn example(code: Code) -> String {
    serde_json::to_string_pretty(&Problem::example(code).document()).unwrap_or_default()
}

/// A page for programs.
#[derive(Serialize)]
struct Page<T> {
    code: &'static str,
    status: u16,
    title: &'static str,
    what_happened: &'static str,
    way_out: &'static str,
    again: &'static str,
    again_because: &'static str,
    example: T,
}

fn with_page<R>(code: Code, take: impl FnOnce(&Page<Document<'_>>) -> R) -> R {
    let (row, example) = (code.row(), Problem::example(code));
    take(&Page {
        code: row.code,
        status: row.status,
        title: row.title,
        what_happened: row.happened,
        way_out: row.way_out,
        again: row.again.words(),
        again_because: row.again.explanation(),
        example: example.document(),
    })
}

/// `/problems/{code}` as JSON.
pub(super) fn json(code: Code) -> String {
    with_page(code, |page| serde_json::to_string(page).unwrap_or_default())
}

/// `/problems` as JSON.
pub(super) fn json_list() -> String {
    let pages: Vec<String> = Code::ALL.iter().map(|code| json(*code)).collect();
    format!("{{\"problems\":[{}]}}", pages.join(","))
}
