//! The smallest template that cannot forget to escape: `{{name}}` is replaced by a value, text always escaped.
//!
//! Limits: no loops, no conditions; rows are templates of their own. A name without a value leaves nothing, and a
//! debug build stops there.

/// What goes into a page.
pub(super) enum Value<'a> {
    /// Text from anywhere; escaped.
    Text(&'a str),
    /// Markup that was itself made by [`fill`].
    Markup(&'a str),
}

/// Replaces every `{{name}}` of the template.
pub(super) fn fill(template: &str, values: &[(&str, Value<'_>)]) -> String {
    let mut page = String::with_capacity(template.len() * 2);
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        page.push_str(before);
        let (name, after) = after.split_once("}}").unwrap_or((after, ""));
        let value = values.iter().find(|(known, _)| *known == name);
        debug_assert!(value.is_some(), "the template asks for {name}");
        match value {
            Some((_, Value::Text(text))) => escape(text, &mut page),
            Some((_, Value::Markup(markup))) => page.push_str(markup),
            None => {}
        }
        rest = after;
    }
    page.push_str(rest);
    page
}

/// Safe in element content and in quoted attribute values.
fn escape(text: &str, page: &mut String) {
    for letter in text.chars() {
        match letter {
            '&' => page.push_str("&amp;"),
            '<' => page.push_str("&lt;"),
            '>' => page.push_str("&gt;"),
            '"' => page.push_str("&quot;"),
            '\'' => page.push_str("&#39;"),
            _ => page.push(letter),
        }
    }
}

#[test]
fn text_is_escaped_and_markup_is_not() {
    let page = fill("<p title=\"{{a}}\">{{b}}</p>", &[("a", Value::Text("\"<&>'")), ("b", Value::Markup("<b>x</b>"))]);
    assert_eq!(page, "<p title=\"&quot;&lt;&amp;&gt;&#39;\"><b>x</b></p>");
}

#[test]
fn a_value_that_looks_like_a_placeholder_stays_text() {
    assert_eq!(fill("{{a}}", &[("a", Value::Text("{{b}}"))]), "{{b}}");
}
