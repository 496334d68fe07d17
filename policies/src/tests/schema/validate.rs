//! As much of JSON Schema as the published schema uses; what else it might use is an error.

use serde_json::Value;

pub(super) fn valid(root: &Value, value: &Value) -> Result<(), String> {
    check(root, root, value, "")
}

fn check(root: &Value, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    let wrong = |what: &str| Err(format!("{at}: {what}"));
    for (word, given) in schema.as_object().ok_or("a schema is an object")? {
        match word.as_str() {
            "$schema" | "$id" | "$defs" | "title" | "description" | "format" | "default" => {}
            "$ref" => {
                let pointer = given.as_str().and_then(|text| text.strip_prefix('#')).ok_or("a local $ref")?;
                check(root, root.pointer(pointer).ok_or("a $ref to nothing")?, value, at)?;
            }
            "type" => {
                let kinds = given.as_array().cloned().unwrap_or_else(|| vec![given.clone()]);
                if !kinds.iter().any(|kind| kind == kind_of(value)) {
                    return wrong("type");
                }
            }
            "enum" if !given.as_array().is_some_and(|values| values.contains(value)) => return wrong("enum"),
            "const" if given != value => return wrong("const"),
            "enum" | "const" => {}
            "anyOf" | "oneOf" => {
                let fits = given.as_array().ok_or("a list")?.iter();
                let fits = fits.filter(|one| check(root, one, value, at).is_ok()).count();
                if fits == 0 || (word == "oneOf" && fits > 1) {
                    return wrong(word);
                }
            }
            "properties" => {
                for (key, schema) in given.as_object().ok_or("an object")? {
                    if let Some(member) = value.get(key) {
                        check(root, schema, member, &format!("{at}/{key}"))?;
                    }
                }
            }
            "required" => {
                let missing = given.as_array().ok_or("a list")?.iter().filter_map(Value::as_str);
                if value.is_object() && missing.into_iter().any(|key| value.get(key).is_none()) {
                    return wrong("required");
                }
            }
            "additionalProperties" if given == &Value::Bool(true) => {}
            "additionalProperties" => {
                let known = schema.get("properties").and_then(Value::as_object);
                let extra = |key: &String| !known.is_some_and(|known| known.contains_key(key));
                if value.as_object().is_some_and(|members| members.keys().any(extra)) {
                    return wrong("additionalProperties");
                }
            }
            "items" => {
                for (place, item) in value.as_array().into_iter().flatten().enumerate() {
                    check(root, given, item, &format!("{at}/{place}"))?;
                }
            }
            "maxItems" if value.as_array().is_some_and(|l| l.len() as u64 > limit(given)) => {
                return wrong(word);
            }
            "minItems" if value.as_array().is_some_and(|l| (l.len() as u64) < limit(given)) => {
                return wrong(word);
            }
            "minProperties" if value.as_object().is_some_and(|m| (m.len() as u64) < limit(given)) => {
                return wrong(word);
            }
            "minLength" if value.as_str().is_some_and(|t| (t.len() as u64) < limit(given)) => {
                return wrong(word);
            }
            "maxLength" if value.as_str().is_some_and(|t| t.len() as u64 > limit(given)) => {
                return wrong(word);
            }
            "minimum" if value.as_f64() < given.as_f64() && value.is_number() => return wrong(word),
            "maximum" if value.as_f64() > given.as_f64() && value.is_number() => return wrong(word),
            "pattern" => {
                let pattern =
                    regex::Regex::new(given.as_str().ok_or("a text")?).map_err(|e| e.to_string())?;
                if value.as_str().is_some_and(|text| !pattern.is_match(text)) {
                    return wrong(word);
                }
            }
            "minItems" | "maxItems" | "minProperties" | "minLength" | "maxLength" | "minimum" | "maximum" => {
            }
            other => return Err(format!("the validator does not know `{other}`")),
        }
    }
    Ok(())
}

fn limit(given: &Value) -> u64 {
    given.as_u64().unwrap_or(u64::MAX)
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
