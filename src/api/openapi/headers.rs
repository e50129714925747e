//! Header fields in and out, described once and referred to.
//!
//! Limits: which operation takes or gives which field is said with the operation; a pattern says what is taken, the text what it means.

use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::{ComponentsBuilder, Ref, Required, ResponseBuilder};

/// A field of an answer.
struct Answered {
    name: &'static str,
    about: &'static str,
    schema: fn() -> ObjectBuilder,
}

/// A field of a request.
struct Asked {
    name: &'static str,
    about: &'static str,
    schema: fn() -> ObjectBuilder,
}

const ANSWERED: &[Answered] = &[
    Answered {
        name: "X-Request-Id",
        about: "The caller's id if it was well formed, else the service's own; the log has it, too.",
        schema: text,
    },
    Answered {
        name: "ETag",
        about: "The strong tag of the content: the same bytes have the same tag. Not of the lifetime.",
        schema: tag,
    },
    Answered {
        name: "Collective-Outcome",
        about: "What became of the call: `not_executed` (it changed nothing and never will), `unknown` (it may have, or may yet), `executed` \
                (a definite answer after effects).",
        schema: outcome,
    },
    Answered {
        name: "Retry-After",
        about: "Whole seconds to wait before asking again, computed by whoever said no and rounded up.",
        schema: count,
    },
    Answered {
        name: "Idempotency-Replayed",
        about: "`true` if an earlier request with the same Idempotency-Key had decided this answer.",
        schema: truth,
    },
    Answered {
        name: "Collective-TTL-Ms",
        about: "Remaining lifetime in milliseconds; absent when the key lives for ever.",
        schema: count,
    },
    Answered {
        name: "Age",
        about: "Seconds since the content was read from Redis; only on a stale read.",
        schema: count,
    },
    Answered {
        name: "Cache-Status",
        about: "Where a stale read came from (RFC 9211); only on a stale read.",
        schema: text,
    },
    Answered { name: "WWW-Authenticate", about: "How to say who is calling.", schema: text },
    Answered { name: "Allow", about: "The methods there are.", schema: text },
    Answered {
        name: "Upstash-Sync-Token",
        about: "For SDKs that want to read their own writes; every read does.",
        schema: text,
    },
];

const ASKED: &[Asked] = &[
    Asked {
        name: "X-Request-Timeout-Ms",
        about: "How long the answer may take, in milliseconds, cut to `requests.timeout_max`. Without it `requests.timeout` counts.",
        // Without a format: what is beyond 64 bits is cut like all that is too much.
        schema: || ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)),
    },
    Asked {
        name: "X-Request-Id",
        about: "An id for the log; taken over if it is 1 to 64 letters, digits, dots, hyphens and underscores, else replaced.",
        schema: anything,
    },
    Asked {
        name: "Idempotency-Key",
        about: "A name for this very request, remembered for 24 hours with its answer: sent again it has no second effect, and the service \
                may repeat it by itself. Bytes other than those of the first request are refused.",
        schema: || text().pattern(Some("^[!#-~]{1,255}$")),
    },
    Asked {
        name: "Collective-Fence",
        about: "`<lease>;<token>`: applied only if no newer token of that lease is known. The lease's name is percent-encoded.",
        schema: || text().pattern(Some("^[A-Za-z0-9._~-]+;[0-9]+$")),
    },
    Asked {
        name: "If-Match",
        about: "Applied only if what is stored has one of these tags; `*`: if there is such a key.",
        schema: || text().pattern(Some(TAGS)),
    },
    Asked {
        name: "If-None-Match",
        about: "Applied only if what is stored has none of these tags; `*`: if there is no such key. On a read: 304 in place of the content.",
        schema: || text().pattern(Some(TAGS)),
    },
    Asked {
        name: "Cache-Control",
        about: "`stale-if-error=N`: if Redis does not answer, the content this caller was told last will do, if it is not older than N \
                seconds; the answer then has `Age` and `Cache-Status`.",
        schema: anything,
    },
    Asked {
        name: "Collective-Retry",
        about: "`state`: a write that leaves the same state twice in a row, but not the same reply (`DEL`), is sent again when its reply is \
                lost; the count in its answer may then be 0 although the effect is its own. Other commands are treated as without it.",
        schema: || text().enum_values(Some(["state"])),
    },
    Asked {
        name: "Upstash-Encoding",
        about: "`base64`: every string of the answer is base64, so that it can be any bytes.",
        schema: || text().enum_values(Some(["base64"])),
    },
];

/// A star, or one tag or two: more are taken, and nobody sends them.
const TAGS: &str = r#"^(\*|(W/)?"[0-9a-f]{0,64}"(, ?(W/)?"[0-9a-f]{0,64}")?)$"#;

/// What is never refused.
fn anything() -> ObjectBuilder {
    super::entry::anything()
}

fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

fn count() -> ObjectBuilder {
    let format = SchemaFormat::KnownFormat(KnownFormat::Int64);
    ObjectBuilder::new().schema_type(Type::Integer).format(Some(format)).minimum(Some(0))
}

fn tag() -> ObjectBuilder {
    text().pattern(Some("^\"[0-9a-f]{40}\"$"))
}

fn outcome() -> ObjectBuilder {
    text().enum_values(Some(["not_executed", "unknown", "executed"]))
}

fn truth() -> ObjectBuilder {
    text().enum_values(Some(["true"]))
}

/// Everything described here, as components.
pub fn describe(components: ComponentsBuilder) -> ComponentsBuilder {
    let components = ANSWERED.iter().fold(components, |components, field| {
        let header = HeaderBuilder::new().schema(Some((field.schema)())).description(Some(field.about)).build();
        components.header(field.name, header)
    });
    ASKED.iter().fold(components, |components, field| {
        let parameter = ParameterBuilder::new()
            .name(field.name)
            .parameter_in(ParameterIn::Header)
            .required(Required::False)
            .description(Some(field.about))
            .schema(Some((field.schema)()));
        components.parameter(field.name, parameter.build())
    })
}

/// Adds fields by their names, and the one every answer has.
pub fn add(response: ResponseBuilder, names: &[&str]) -> ResponseBuilder {
    let names = names.iter().copied().chain(["X-Request-Id"]);
    names.fold(response, |response, name| response.header_ref(name, Ref::new(format!("#/components/headers/{name}"))))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_field_is_described_once() {
        let components = json!(describe(ComponentsBuilder::new()).build());
        assert_eq!(components["headers"].as_object().map(serde_json::Map::len), Some(ANSWERED.len()));
        assert_eq!(components["parameters"].as_object().map(serde_json::Map::len), Some(ASKED.len()));
    }
}
