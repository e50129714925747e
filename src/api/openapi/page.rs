//! `/docs/`: the document as an interactive page, the vendored Swagger UI.
//!
//! Its files come out of the binary and it loads nothing from elsewhere. The policy allows scripts and requests to this origin alone;
//! pictures may stand in the style sheet (`data:`), which is how Swagger UI draws its arrows. A token typed into the page stays in that
//! page's memory: it is not stored. Public, as the document is: trying something out asks for a token. Limits: of the vendored
//! files only those the page loads are served.

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use actix_web::http::Method;
use actix_web::http::header::{self, HeaderValue};
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse, web};
use utoipa_swagger_ui::Config;

use super::ALLOW;
use crate::api::problem::pages::NO_FEATURES;
use crate::api::problem::{Code, Problem};

const PREFIX: &str = "/docs/";

/// What the page loads.
const FILES: [&str; 8] = [
    "index.html",
    "index.css",
    "swagger-ui.css",
    "swagger-ui-bundle.js",
    "swagger-ui-standalone-preset.js",
    "swagger-initializer.js",
    "favicon-16x16.png",
    "favicon-32x32.png",
];

/// A page of its own policy; the rest of the full set (D29) is that of every page.
const HTML_HEADERS: [(&str, &str); 7] = [
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
    ),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("permissions-policy", NO_FEATURES),
    ("referrer-policy", "no-referrer"),
    ("x-frame-options", "DENY"),
    ("x-permitted-cross-domain-policies", "none"),
];

/// One file of the page.
struct File {
    name: &'static str,
    media_type: HeaderValue,
    content: Bytes,
}

static SERVED: LazyLock<Vec<File>> = LazyLock::new(|| {
    let config = Config::from("../openapi.json")
        .validator_url("none")
        .deep_linking(true)
        .display_operation_id(true)
        .display_request_duration(true)
        .persist_authorization(false)
        .use_base_layout();
    let config = Arc::new(config);
    FILES.iter().filter_map(|name| File::vendored(name, &config)).collect()
});

impl File {
    fn vendored(name: &'static str, config: &Arc<Config<'static>>) -> Option<Self> {
        let file = utoipa_swagger_ui::serve(name, config.clone()).ok().flatten()?;
        let media_type = match file.content_type.as_str() {
            "text/html" => HeaderValue::from_static("text/html; charset=utf-8"),
            other => HeaderValue::from_str(other).ok()?,
        };
        let content = match file.bytes {
            Cow::Borrowed(bytes) => Bytes::from_static(bytes),
            Cow::Owned(bytes) => Bytes::from(bytes),
        };
        Some(Self { name, media_type, content })
    }
}

/// Mounts the page.
pub fn configure(app: &mut web::ServiceConfig) {
    app.service(web::scope("/docs").default_service(web::to(serve)));
}

async fn serve(request: HttpRequest) -> Result<HttpResponse, Problem> {
    let path = request.uri().path();
    if path == "/docs" {
        return if is_read(&request) { Ok(moved()) } else { other_method(&request) };
    }
    let name = match path.strip_prefix(PREFIX) {
        Some("") => "index.html",
        other => other.unwrap_or_default(),
    };
    let file = SERVED.iter().find(|file| file.name == name).ok_or_else(|| nothing().at(&request))?;
    if is_read(&request) { Ok(answer(file)) } else { other_method(&request) }
}

fn is_read(request: &HttpRequest) -> bool {
    matches!(*request.method(), Method::GET | Method::HEAD)
}

/// Relative, so that it is right behind any prefix a reverse proxy may have taken away.
fn moved() -> HttpResponse {
    HttpResponse::PermanentRedirect().insert_header((header::LOCATION, HeaderValue::from_static("docs/"))).finish()
}

fn answer(file: &File) -> HttpResponse {
    const AN_HOUR: HeaderValue = HeaderValue::from_static("public, max-age=3600");
    let mut response = HttpResponse::Ok();
    response.insert_header((header::CONTENT_TYPE, file.media_type.clone()));
    if file.name == "index.html" {
        HTML_HEADERS.iter().for_each(|pair| {
            response.insert_header(*pair);
        });
    } else {
        response.insert_header((header::CACHE_CONTROL, AN_HOUR));
    }
    response.body(file.content.clone())
}

/// OPTIONS is told the methods there are, and every other method that it is none of them.
pub(super) fn other_method(request: &HttpRequest) -> Result<HttpResponse, Problem> {
    if request.method() == Method::OPTIONS {
        return Ok(HttpResponse::NoContent().insert_header((header::ALLOW, ALLOW)).finish());
    }
    Err(Problem::method(ALLOW).at(request))
}

/// A path beside the page.
pub(super) fn nothing() -> Problem {
    Problem::new(Code::NotFound, "there is no such page: /docs/ is the page, /openapi.json the document")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(name: &str) -> String {
        let file = SERVED.iter().find(|file| file.name == name).unwrap_or_else(|| panic!("{name}"));
        String::from_utf8(file.content.to_vec()).expect("text")
    }

    #[test]
    fn everything_the_page_names_is_served_and_nothing_is_inline() {
        let page = content("index.html");
        let named: Vec<&str> = page
            .split(['"', '\''])
            .filter(|word| [".js", ".css", ".png"].iter().any(|end| word.ends_with(end)))
            .map(|word| word.trim_start_matches("./"))
            .collect();
        assert!(named.len() >= 6, "{named:?}");
        for name in named {
            assert!(SERVED.iter().any(|file| file.name == name), "{name}");
        }
        for banned in ["<style", " style=", " onload", "http:", "https:"] {
            assert!(!page.contains(banned), "{banned}");
        }
        assert_eq!(page.matches("<script src=").count(), page.matches("<script").count());
        assert_eq!(SERVED.len(), FILES.len());
    }

    #[test]
    fn the_page_asks_this_origin_for_the_document_and_nobody_to_judge_it() {
        let script = content("swagger-initializer.js");
        assert!(
            script.contains(r#""url": "../openapi.json""#) && script.contains(r#""validatorUrl": "none""#),
            "{script}"
        );
        assert!(!script.contains("{{"), "{script}");
    }
}
