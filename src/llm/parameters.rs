//! What a request asks of a model beside its words, as traces tell of it: numbers, and the kind of
//! the answer. Texts that a client chooses, such as where to stop, are never among them.

use bytes::Bytes;

use crate::llm::json;
use crate::llm::splice::Object;
use crate::pdk::{Parameter, Parameters};

/// Members that are whole numbers, by their attribute. The later name of one wins.
const WHOLE: &[(&str, &str)] = &[
    ("max_tokens", "gen_ai.request.max_tokens"),
    ("max_completion_tokens", "gen_ai.request.max_tokens"),
    ("max_output_tokens", "gen_ai.request.max_tokens"),
    ("n", "gen_ai.request.choice.count"),
    ("seed", "gen_ai.request.seed"),
    ("dimensions", "gen_ai.embeddings.dimension.count"),
];

/// Members that are any numbers.
const ANY: &[(&str, &str)] = &[
    ("temperature", "gen_ai.request.temperature"),
    ("top_p", "gen_ai.request.top_p"),
    ("top_k", "gen_ai.request.top_k"),
    ("frequency_penalty", "gen_ai.request.frequency_penalty"),
    ("presence_penalty", "gen_ai.request.presence_penalty"),
];

/// The parameters of a body; none of what is no JSON object.
pub fn of(body: &Bytes) -> Parameters {
    let Ok(body) = Object::read(body.clone()) else { return Parameters::new() };
    let number = |name: &str| std::str::from_utf8(body.get(name)?).ok()?.parse::<f64>().ok();
    let mut found = Parameters::new();
    for (name, attribute) in WHOLE {
        let whole = number(name).filter(|number| number.fract() == 0.0);
        let Some(whole) = whole else { continue };
        found.retain(|(known, _)| known != attribute);
        found.push((attribute, Parameter::Whole(whole as i64)));
    }
    let any = ANY.iter().filter_map(|(name, attribute)| Some((*attribute, number(name)?)));
    found.extend(any.map(|(attribute, number)| (attribute, Parameter::Number(number))));
    found.extend(output(&body).map(|kind| ("gen_ai.output.type", Parameter::Kind(kind))));
    found
}

/// `gen_ai.output.type`, where the client asks for one.
fn output(body: &Object<Bytes>) -> Option<&'static str> {
    let member = |raw: &[u8], name| Some(Object::read(raw.to_vec()).ok()?.get(name)?.to_vec());
    let format = match (body.get("response_format"), body.get("text")) {
        (Some(format), _) => format.to_vec(),
        (None, Some(text)) => member(text, "format")?, // Responses
        (None, None) => return None,
    };
    let kind = member(&format, "type")?;
    match json::text(&kind)?.as_ref() {
        "json_object" | "json_schema" => Some("json"),
        "text" => Some("text"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(body: &'static str) -> Vec<String> {
        let told = of(&Bytes::from_static(body.as_bytes()));
        told.iter().map(|(name, value)| format!("{name}={value:?}")).collect()
    }

    #[test]
    fn numbers_and_the_kind_of_the_answer_are_told() {
        let body = r#"{"messages":[],"max_tokens":5,"max_completion_tokens":7,"temperature":0.5,
            "top_p":1,"n":2,"seed":-3,"stop":["secret"],
            "response_format":{"type":"json_schema","json_schema":{"name":"secret"}}}"#;
        assert_eq!(
            told(body),
            [
                "gen_ai.request.max_tokens=Whole(7)",
                "gen_ai.request.choice.count=Whole(2)",
                "gen_ai.request.seed=Whole(-3)",
                "gen_ai.request.temperature=Number(0.5)",
                "gen_ai.request.top_p=Number(1.0)",
                "gen_ai.output.type=Kind(\"json\")",
            ]
        );
        let responses = r#"{"input":"x","max_output_tokens":9,"text":{"format":{"type":"text"}}}"#;
        assert_eq!(
            told(responses),
            ["gen_ai.request.max_tokens=Whole(9)", "gen_ai.output.type=Kind(\"text\")"]
        );
    }

    #[test]
    fn what_is_no_parameter_is_left_out() {
        let body = r#"{"max_tokens":"5","temperature":null,"n":1.5,"response_format":"json",
            "text":[]}"#;
        assert!(told(body).is_empty());
        assert!(told("[]").is_empty() && told("").is_empty());
    }
}
