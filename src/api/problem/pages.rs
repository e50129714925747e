//! A page for each code at `/problems/{code}`, and all of them at `/problems`: where the `type` of a document leads.
//!
//! HTML for browsers, JSON for programs, Markdown for everyone else, made from the one table and the same at every instance.
//! Public: whoever was refused must be able to read why. The pages load nothing but their style sheet from the same origin and
//! carry the full set of security headers (D29). Limits: one language; the dialect's errors have texts of their own and no pages.

mod html;
mod text;

use std::sync::LazyLock;

use actix_web::http::Method;
use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, web};
use sha1::{Digest, Sha1};

use super::{Code, Problem};
pub use text::markdown;

/// Where the pages are; a code follows.
pub const PREFIX: &str = "/problems/";
const ALLOW: &str = "GET, HEAD, OPTIONS";
const STYLE: &str = include_str!("pages/page.css");

/// The style sheet's name holds a hash of its content, so that it can be kept for ever.
static STYLE_PATH: LazyLock<String> = LazyLock::new(|| {
    let digest = Sha1::digest(STYLE.as_bytes());
    let hash: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    format!("{PREFIX}page-{hash}.css")
});

/// Features of a browser that a page could ask for and these never do.
pub const NO_FEATURES: &str = "accelerometer=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), magnetometer=(), \
                           microphone=(), midi=(), payment=(), usb=()";

/// What HTML carries beyond the headers of every answer; the policy replaces the shorter one.
const HTML_HEADERS: [(&str, &str); 7] = [
    (
        "content-security-policy",
        "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("permissions-policy", NO_FEATURES),
    ("referrer-policy", "no-referrer"),
    ("x-frame-options", "DENY"),
    ("x-permitted-cross-domain-policies", "none"),
];

/// Mounts the pages.
pub fn configure(app: &mut web::ServiceConfig) {
    app.service(web::scope("/problems").default_service(web::to(serve)));
}

async fn serve(request: HttpRequest) -> Result<HttpResponse, Problem> {
    match *request.method() {
        Method::GET | Method::HEAD => page(&request),
        Method::OPTIONS => Ok(HttpResponse::NoContent().insert_header((header::ALLOW, ALLOW)).finish()),
        _ => Err(Problem::method(ALLOW).at(&request)),
    }
}

fn page(request: &HttpRequest) -> Result<HttpResponse, Problem> {
    let path = request.uri().path();
    if path == *STYLE_PATH {
        return Ok(style());
    }
    let form = Form::of(request);
    let name = path.strip_prefix(PREFIX).unwrap_or_default();
    if name.is_empty() {
        return Ok(answer(form, form.pick(html::index, text::list, text::json_list)));
    }
    let code = Code::ALL.iter().copied().find(|code| code.row().code == name);
    let code = code.ok_or_else(|| {
        Problem::new(Code::NotFound, "there is no problem of that name; /problems lists all").at(request)
    })?;
    Ok(answer(form, form.pick(|| html::page(code), || text::page(code), || text::json(code))))
}

fn style() -> HttpResponse {
    const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
    HttpResponse::Ok()
        .insert_header((header::CACHE_CONTROL, FOR_EVER))
        .content_type("text/css; charset=utf-8")
        .body(STYLE)
}

fn answer(form: Form, body: String) -> HttpResponse {
    let mut response = HttpResponse::Ok();
    response.insert_header((header::VARY, HeaderValue::from_static("accept"))).content_type(form.media_type());
    if form == Form::Html {
        HTML_HEADERS.iter().for_each(|pair| {
            response.insert_header(*pair);
        });
    }
    response.body(body)
}

/// The forms a page comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Html,
    Markdown,
    Json,
}

impl Form {
    /// The form the reader likes best; Markdown for those who take anything, since it reads well in a terminal.
    fn of(request: &HttpRequest) -> Self {
        let accept = request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok());
        Self::preferred(accept.unwrap_or_default())
    }

    fn preferred(accept: &str) -> Self {
        let mut best = (0.0, Self::Markdown);
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let form = match parts.next().unwrap_or_default() {
                "text/html" | "application/xhtml+xml" => Self::Html,
                "text/markdown" | "text/plain" | "text/*" | "*/*" => Self::Markdown,
                "application/json" | "application/problem+json" | "application/*" => Self::Json,
                _ => continue,
            };
            let quality = parts.find_map(|part| part.strip_prefix("q=")).map_or(Ok(1.0), str::parse::<f32>);
            let quality = quality.unwrap_or_default();
            if quality > best.0 {
                best = (quality, form);
            }
        }
        best.1
    }

    fn pick(self, html: impl Fn() -> String, markdown: impl Fn() -> String, json: impl Fn() -> String) -> String {
        match self {
            Self::Html => html(),
            Self::Markdown => markdown(),
            Self::Json => json(),
        }
    }

    const fn media_type(self) -> &'static str {
        match self {
            Self::Html => "text/html; charset=utf-8",
            Self::Markdown => "text/markdown; charset=utf-8",
            Self::Json => "application/json",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_get_html_programs_json_and_terminals_markdown() {
        let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
        assert_eq!(Form::preferred(browser), Form::Html);
        assert_eq!(Form::preferred("application/json, text/plain, */*"), Form::Json);
        for terminal in ["*/*", "", "image/png", "text/html;q=0", "text/html;q=x"] {
            assert_eq!(Form::preferred(terminal), Form::Markdown, "{terminal}");
        }
        assert_eq!(Form::preferred("text/html;q=0.5, application/problem+json;q=0.9"), Form::Json);
    }

    #[test]
    fn no_page_has_an_inline_style_or_script_or_loads_from_elsewhere() {
        let pages = Code::ALL.iter().map(|code| html::page(*code)).chain([html::index()]);
        for page in pages {
            for banned in ["<script", "<style", " style=", "http:", "https:", "{{"] {
                assert!(!page.contains(banned), "{banned} in {page}");
            }
            assert_eq!(page.matches("<h1").count(), 1);
        }
        assert!(!STYLE.contains("url(") && !STYLE.contains("@import"));
    }
}
