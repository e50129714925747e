//! One documented operation, in the words of this service: what it takes, what it answers, with which codes it fails.
//!
//! Handlers are told about here and not by attributes above them: an operation's answers are mostly failures, the failures are the
//! rows of one table, and a list written by hand beside each handler would soon disagree with it. Bodies and queries are described by
//! the very types that read and write them (`ToSchema`, `IntoParams`). Limits: `HEAD` is described as `GET` without its body.

use serde_json::Value;
use utoipa::ToSchema;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::extensions::ExtensionsBuilder;
use utoipa::openapi::link::LinkBuilder;
use utoipa::openapi::path::{HttpMethod, Operation, OperationBuilder, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::request_body::{RequestBody, RequestBodyBuilder};
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaType, Type};
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{Ref, RefOr, Required, Response, ResponseBuilder};

use super::headers;
use crate::api::problem::Code;

/// Schemas by their names.
pub type Schemas = Vec<(String, RefOr<Schema>)>;

/// One operation.
#[derive(Clone)]
pub struct Entry {
    pub(super) method: HttpMethod,
    pub(super) path: &'static str,
    pub(super) codes: Vec<Code>,
    pub(super) shape: Shape,
    pub(super) is_public: bool,
    pub(super) schemas: Schemas,
    id: String,
    tag: &'static str,
    summary: &'static str,
    about: &'static str,
    parameters: Vec<Parameter>,
    shared: Vec<&'static str>,
    body: Option<RequestBody>,
    answers: Vec<(u16, Response)>,
    order: Option<u16>,
}

/// How an operation says no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// With a problem document.
    Documents,
    /// With `{"error"}`.
    Commands,
}

impl Entry {
    /// An operation of `/v1`; `id` is what generated clients call it.
    pub fn new(method: HttpMethod, path: &'static str, id: &str, summary: &'static str) -> Self {
        Self {
            method,
            path,
            codes: Vec::new(),
            shape: Shape::Documents,
            is_public: false,
            schemas: Vec::new(),
            id: id.to_owned(),
            tag: "",
            summary,
            about: "",
            parameters: Vec::new(),
            shared: Vec::new(),
            body: None,
            answers: Vec::new(),
            order: None,
        }
    }

    /// What the summary leaves out.
    pub fn about(mut self, text: &'static str) -> Self {
        self.about = text;
        self
    }

    /// The resource it belongs to.
    pub fn tag(mut self, tag: &'static str) -> Self {
        self.tag = tag;
        self
    }

    /// An operation of the command dialect.
    pub fn of_commands(mut self) -> Self {
        self.shape = Shape::Commands;
        self
    }

    /// One that asks for no token.
    pub fn public(mut self) -> Self {
        self.is_public = true;
        self
    }

    /// When its example is executed, among all: examples build on those before them.
    pub fn order(mut self, order: u16) -> Self {
        self.order = Some(order);
        self
    }

    /// A parameter of its own.
    pub fn parameter(mut self, parameter: impl Into<Parameter>) -> Self {
        self.parameters.push(parameter.into());
        self
    }

    /// The parameters a type reads.
    pub fn parameters(mut self, parameters: Vec<Parameter>) -> Self {
        self.parameters.extend(parameters);
        self
    }

    /// Parameters described once for many operations.
    pub fn shared(mut self, names: &[&'static str]) -> Self {
        self.shared.extend(names);
        self
    }

    /// A JSON body of type `T`.
    pub fn json_body<T: ToSchema>(mut self, required: Required, example: Value) -> Self {
        let content = self.content_of::<T>(example);
        let body = RequestBodyBuilder::new().content("application/json", content.build());
        self.body = Some(body.required(Some(required)).build());
        self
    }

    /// A body of any bytes.
    pub fn bytes_body(mut self, about: &'static str, example: &str) -> Self {
        let content = ContentBuilder::new().example(Some(example.into())).schema(Some(bytes())).build();
        let body = RequestBodyBuilder::new().description(Some(about)).content("application/octet-stream", content);
        self.body = Some(body.required(Some(Required::False)).build());
        self
    }

    /// An answer without content.
    pub fn empty(self, status: u16, about: &str, headers: &[&str]) -> Self {
        self.answer(status, ResponseBuilder::new().description(about), headers)
    }

    /// An answer of type `T`.
    pub fn json<T: ToSchema>(mut self, status: u16, about: &str, headers: &[&str], example: Value) -> Self {
        let content = self.content_of::<T>(example);
        self.answer(
            status,
            ResponseBuilder::new().description(about).content("application/json", content.build()),
            headers,
        )
    }

    /// Any other answer.
    pub fn answer(mut self, status: u16, response: ResponseBuilder, headers: &[&str]) -> Self {
        let response = headers::add(response, headers);
        self.answers.push((status, response.build()));
        self
    }

    /// That what was answered last is used by the operation `id`: as its parameters, or as its body.
    pub fn link(mut self, id: &str, parameters: &[(&str, &str)], body: Option<Value>) -> Self {
        let mut link = LinkBuilder::new().operation_id(id).request_body(body);
        for (name, expression) in parameters {
            link = link.parameter(*name, *expression);
        }
        if let Some((_, response)) = self.answers.last_mut() {
            response.links.insert(id.to_owned(), RefOr::T(link.build()));
        }
        self
    }

    /// The codes it can fail with, beyond those of every operation.
    pub fn fails(mut self, groups: &[&[Code]]) -> Self {
        self.codes.extend(groups.iter().copied().flatten());
        self
    }

    /// The same for `HEAD`: what `GET` would answer, without its content.
    pub fn head(&self, id: &str, summary: &'static str) -> Self {
        let answers = self.answers.iter().cloned().map(|(status, mut response)| {
            response.content.clear();
            (status, response)
        });
        let order = self.order.map(|order| order + 1);
        let head = Self { method: HttpMethod::Head, id: id.to_owned(), summary, about: "", order, ..self.clone() };
        Self { answers: answers.collect(), ..head }
    }

    /// The operation, with its failures.
    pub(super) fn build(&self, failures: Vec<(u16, Ref)>) -> Operation {
        let mut operation =
            OperationBuilder::new().operation_id(Some(&self.id)).tag(self.tag).summary(Some(self.summary));
        if !self.about.is_empty() {
            operation = operation.description(Some(self.about));
        }
        operation =
            self.parameters.iter().fold(operation, |operation, parameter| operation.parameter(parameter.clone()));
        let shared = self.shared.iter().copied().chain((!self.is_public).then_some("X-Request-Timeout-Ms"));
        operation = shared.chain(["X-Request-Id"]).fold(operation, |operation, name| {
            operation.parameter_ref(Ref::new(format!("#/components/parameters/{name}")))
        });
        operation = self
            .answers
            .iter()
            .fold(operation, |operation, (status, response)| operation.response(status.to_string(), response.clone()));
        for (status, reference) in failures {
            operation = operation.response(status.to_string(), reference);
        }
        if self.is_public {
            operation = operation.securities(Some(Vec::<SecurityRequirement>::new()));
        }
        let order = self.order.map(|order| ExtensionsBuilder::new().add("x-order", order).build());
        operation.request_body(self.body.clone()).extensions(order).build()
    }

    /// Describes `T`, for an answer that refers to it.
    pub fn knows<T: ToSchema>(&mut self) {
        T::schemas(&mut self.schemas);
        self.schemas.push((T::name().into_owned(), T::schema()));
    }

    fn content_of<T: ToSchema>(&mut self, example: Value) -> ContentBuilder {
        self.knows::<T>();
        ContentBuilder::new().example(Some(example)).schema(Some(Ref::from_schema_name(T::name())))
    }
}

/// Bytes, whatever they are.
pub fn bytes() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(SchemaType::AnyValue).content_media_type("application/octet-stream")
}

/// Any JSON.
pub fn anything() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(SchemaType::AnyValue)
}

/// A name in the path: one percent-encoded segment, as OpenAPI has it.
pub fn name(name: &str, about: &str, example: &str) -> Parameter {
    path(name, about, example, ObjectBuilder::new().min_length(Some(1)))
}

/// A parameter in the path that keeps more rules than a name does.
pub fn path(name: &str, about: &str, example: &str, rules: ObjectBuilder) -> Parameter {
    let schema = rules.schema_type(Type::String);
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .description(Some(about))
        .schema(Some(schema))
        .example(Some(example.into()))
        .build()
}
