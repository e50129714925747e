//! The pages for people: one sentence large, the answer to "may I send it again?" as a word, a shape and a colour.
//!
//! Every value is escaped on its way in ([`fill`] knows no other way for text). Limits: the table is constant, so pages are made
//! anew for each reader; nobody reads them a thousand times a second.

use std::fmt::Write;

use super::super::{Again, Code, Row};
use super::{PREFIX, STYLE_PATH, text};

const FRAME: &str = include_str!("frame.html");
const PAGE: &str = include_str!("problem.html");
const INDEX: &str = include_str!("index.html");
const ITEM: &str = include_str!("item.html");

/// `/problems/{code}`
pub(super) fn page(code: Code) -> String {
    let row = code.row();
    let content = fill(
        PAGE,
        &[
            ("code", &escape(row.code)),
            ("status", &row.status.to_string()),
            ("title", &escape(row.title)),
            ("happened", &escape(row.happened)),
            ("way_out", &escape(row.way_out)),
            ("mood", mood(row.again)),
            ("again", &escape(row.again.words())),
            ("because", &escape(row.again.explanation())),
            ("example", &escape(&text::example(code))),
        ],
    );
    frame(row.title, &content)
}

/// `/problems`
pub(super) fn index() -> String {
    let rows: Vec<Row> = Code::ALL.iter().map(|code| code.row()).collect();
    let mut groups = String::new();
    for group in rows.chunk_by(|a, b| family(a.status) == family(b.status)) {
        let items: String = group.iter().map(item).collect();
        let _ = write!(
            groups,
            "<section>\n<h2>{}</h2>\n<ul class=\"list\">\n{items}</ul>\n</section>\n",
            family(group[0].status)
        );
    }
    frame("Problems", &fill(INDEX, &[("groups", &groups)]))
}

fn item(row: &Row) -> String {
    let link = format!("{PREFIX}{}", row.code);
    let status = row.status.to_string();
    fill(ITEM, &[("link", &link), ("status", &status), ("code", &escape(row.code)), ("title", &escape(row.title))])
}

fn frame(title: &str, content: &str) -> String {
    fill(FRAME, &[("title", &escape(title)), ("style", &STYLE_PATH), ("content", content)])
}

/// Whose turn it is, by status.
fn family(status: u16) -> &'static str {
    match status {
        400..=499 => "The request has to change",
        500 | 507 => "The service needs help",
        _ => "Redis is in trouble",
    }
}

/// The colour; the shape and the words say the same.
fn mood(again: Again) -> &'static str {
    match again {
        Again::Safely => "pass",
        Again::Corrected | Again::CauseGone => "warn",
        Again::ReadFirst => "fail",
    }
}

/// Replaces every `{{name}}`; values are markup or escaped already, and are not searched for names.
fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let mut page = String::with_capacity(template.len() * 2);
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, after) = after.split_once("}}").unwrap_or((after, ""));
        page.push_str(before);
        page.push_str(values.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value));
        rest = after;
    }
    page.push_str(rest);
    page
}

/// Safe in element content and in quoted attribute values.
fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            _ => safe.push(letter),
        }
    }
    safe
}

#[test]
fn text_is_escaped_and_not_filled_twice() {
    assert_eq!(fill("<p>{{a}}</p>", &[("a", &escape("<'{{b}}'>")), ("b", "x")]), "<p>&lt;&#39;{{b}}&#39;&gt;</p>");
}
