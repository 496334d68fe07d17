//! A folder of its own, of sixteen words, and everything by which an exchange and ids can differ.

use super::*;
use serde_json::json;

const TEMPLATE: &str = "{% for m in messages %}\n<user> {{ m.content }} \n{% endfor %}\n{% if add_generation_prompt %}<assistant>{% endif %}";
const WORDS: [&str; 9] = ["<unk>", "<user>", "<assistant>", "<end>", "a", "b", "c", "<", "x"];

fn tokenizer(words: &[&str]) -> Vec<u8> {
    let vocabulary: serde_json::Map<String, Value> =
        words.iter().zip(0..).map(|(word, id)| ((*word).to_owned(), json!(id))).collect();
    let added: Vec<Value> = (0..4)
        .map(|id| {
            json!({"id": id, "content": words[id], "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": true})
        })
        .collect();
    let text = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": null,
        "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": null, "decoder": null,
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "<unk>"},
    });
    serde_json::to_vec(&text).unwrap()
}

fn folder(template: &str) -> Result<Model, ModelError> {
    let config = json!({"chat_template": template, "eos_token": {"content": "<end>"}}).to_string();
    Model::of(&tokenizer(&WORDS), config.as_bytes(), None)
}

fn model() -> Model {
    folder(TEMPLATE).unwrap()
}

fn request(more: Value) -> Vec<u8> {
    let mut request = json!({"model": "m", "messages": [{"role": "user", "content": "a b"}]});
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::to_vec(&request).unwrap()
}

fn answer(text: &str, finish: &str) -> Vec<u8> {
    let choice =
        json!({"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish});
    serde_json::to_vec(&json!({"id": "x", "choices": [choice]})).unwrap()
}

fn ids(output: &[u32]) -> Ids {
    Ids { prompt: vec![1, 4, 5, 2], output: output.to_vec() }
}

#[track_caller]
fn differs(came: Result<(), ChatError>, why: &str) {
    match came {
        Err(ChatError::Differs(said)) => assert!(said.contains(why), "{said}"),
        other => panic!("{other:?} instead of {why}"),
    }
}

#[track_caller]
fn unread<T: std::fmt::Debug>(came: Result<T, ChatError>, why: &str) {
    match came {
        Err(error @ ChatError::Unread { .. }) => assert!(error.in_full().contains(why), "{error:?}"),
        other => panic!("{other:?} instead of {why}"),
    }
}

#[test]
fn ids_follow_from_an_exchange_and_hold_for_it() {
    let (model, request) = (model(), request(json!({})));
    for (text, finish, output) in [("b c", "stop", &[5, 6, 3][..]), ("b c", "length", &[5, 6])] {
        let answer = answer(text, finish);
        let made = model.ids(&request, &answer).unwrap();
        assert_eq!(made, ids(output));
        model.check(&made, &request, &answer).unwrap();
    }
    // As events, and with ids that no tokenizer would give for the text.
    let events = "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"b\"},\"token_ids\":[5]}]}\n\n\
                  data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\" c\"},\"finish_reason\":\"stop\",\"token_ids\":[1,6,3]}]}\n\n\
                  data: {\"choices\":[],\"usage\":{}}\n\ndata: [DONE]\n\n";
    assert_eq!(model.ids(&request, events.as_bytes()).unwrap(), ids(&[5, 1, 6, 3]));
}

#[test]
fn what_does_not_follow_from_the_exchange_is_refused() {
    let (model, asked, said) = (model(), request(json!({})), answer("b c", "stop"));
    let check = |ids: &Ids, request: &[u8], answer: &[u8]| model.check(ids, request, answer);
    let good = ids(&[5, 6, 3]);
    check(&good, &asked, &said).unwrap();
    let other = serde_json::to_vec(&json!({"messages": [{"role": "user", "content": "b a"}]})).unwrap();
    differs(check(&good, &other, &said), "not those of the request");
    differs(check(&Ids { prompt: vec![1, 4, 5], ..good.clone() }, &asked, &said), "not those of the request");
    differs(check(&good, &asked, &answer("c b", "stop")), "not those of its text");
    differs(check(&ids(&[5, 3]), &asked, &said), "not those of its text");
    differs(check(&ids(&[5, 6]), &asked, &said), "says that the model ended it");
    differs(check(&ids(&[3, 5, 6]), &asked, &said), "says that the model ended it");
    differs(check(&ids(&[5, 6, 3, 3]), &asked, &said), "says that the model ended it");
    differs(check(&good, &asked, &answer("b c", "length")), "says that it was cut");
    differs(check(&ids(&[5, 6, 900]), &asked, &said), "that the tokenizer has not");
    differs(check(&good, &request(json!({"max_tokens": 2})), &said), "more tokens than were asked for");
}

#[test]
fn of_what_is_not_known_nothing_is_said() {
    let (model, asked, said) = (model(), request(json!({})), answer("b c", "stop"));
    unread(model.ids(&request(json!({"tools": []})), &said), ": tools");
    unread(model.ids(&request(json!({"n": 2})), &said), ": n");
    unread(model.ids(b"{\"prompt\":\"a\"}", &said), ": prompt");
    unread(model.ids(b"{}", &said), "no messages");
    unread(model.ids(b"{\"messages\":[],\"messages\":[]}", &said), "duplicate key");
    let parts = json!({"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}]});
    unread(model.ids(parts.to_string().as_bytes(), &said), "the request's messages");
    unread(model.ids(&asked, &answer("b", "tool_calls")), "is not read: \"tool_calls\"");
    unread(model.ids(&asked, b"{\"error\":{}}"), "no choices");
    unread(model.ids(&asked, b"{\"choices\":[{\"index\":1}]}"), "more than one choice");
    unread(model.ids(&asked, b"\xff"), "no text");
    unread(
        model.ids(&asked, b"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"b\"}}]}\n\n"),
        "how it ended",
    );
}

#[test]
fn what_is_displayed_has_nothing_of_the_bodies() {
    let word = "unmistakable";
    let (asked, said) = (request(json!({})), answer("b c", "stop"));
    let choice = |more: Value| {
        let mut choice = json!({"index": 0, "message": {"content": "b"}, "finish_reason": "stop"});
        choice.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"choices": [choice]}).to_string().into_bytes()
    };
    let refusing = folder("{{ raise_exception(messages[0].content) }}").unwrap();
    let messages = |messages: Value| json!({"messages": messages}).to_string().into_bytes();
    let model = model();
    for (model, asked, said) in [
        (&model, request(json!({word: 1})), said.clone()),
        (&model, messages(json!(word)), said.clone()),
        (&model, messages(json!([{"role": "user", "content": word, word: word}])), said.clone()),
        (&model, messages(json!([word])), said.clone()),
        (&model, asked.clone(), choice(json!({"message": {word: word}}))),
        (&model, asked.clone(), choice(json!({"finish_reason": word}))),
        (&model, asked.clone(), choice(json!({"token_ids": word}))),
        (&refusing, messages(json!([{"role": "user", "content": word}])), said.clone()),
    ] {
        let error = model.ids(&asked, &said).unwrap_err();
        assert!(!error.to_string().contains(word), "{error}");
        assert!(error.in_full().contains(word) && error.in_full().len() < 1000, "{error:?}");
    }
    let long = model.ids(&request(json!({"é".repeat(5000): 1})), &said).unwrap_err();
    assert!(long.in_full().len() < 1000);
}

#[test]
fn of_an_answer_that_is_not_the_likeliest_there_are_no_ids_to_prove() {
    let (model, said) = (model(), answer("b c", "stop"));
    for (more, greedy) in [
        (json!({"temperature": 0, "frequency_penalty": 0.0, "top_p": 0.5}), true),
        (json!({"temperature": null}), true),
        (json!({"temperature": 0.7}), false),
        (json!({"temperature": 1}), false),
        (json!({"temperature": 0, "frequency_penalty": 1}), false),
        (json!({"presence_penalty": -0.5}), false),
    ] {
        let asked = request(more);
        match model.ids(&asked, &said) {
            Ok(made) => assert!(greedy && made == ids(&[5, 6, 3])),
            Err(error) => assert!(!greedy && matches!(error, ChatError::NotGreedy), "{error}"),
        }
        // To a reader such an exchange is one like any other: the proof says which tokens they are.
        model.check(&ids(&[5, 6, 3]), &asked, &said).unwrap();
    }
}

#[test]
fn a_template_can_refuse_and_cannot_spend_without_end() {
    let said = answer("b c", "stop");
    let asked = request(json!({}));
    let refusing = folder("{{ raise_exception('only one message') }}").unwrap();
    unread(refusing.ids(&asked, &said), "only one message");
    let endless = "{% for a in range(9000) %}{% for b in range(9000) %}{% for c in range(9000) %}x{% endfor %}{% endfor %}{% endfor %}";
    unread(folder(endless).unwrap().ids(&asked, &said), "fuel");
    let long = "a ".repeat(400_000);
    let asked = json!({"messages": [{"role": "user", "content": long}]}).to_string();
    let repeating = folder("{% for a in range(100) %}{{ messages[0].content }}{% endfor %}").unwrap();
    unread(repeating.ids(asked.as_bytes(), &said), "chat template");
    assert!(matches!(folder("{% for %}"), Err(ModelError::Unread("tokenizer_config.json", _))));
}

#[test]
fn a_folder_is_known_by_its_tokenizer_and_template() {
    let (one, other) = (model(), folder("{{ messages[0].content }}<assistant>").unwrap());
    assert_eq!(one.tokenizer_digest, other.tokenizer_digest);
    assert_ne!(one.template_digest, other.template_digest);
    let config = json!({"chat_template": "x", "eos_token": "<end>"}).to_string();
    let apart = Model::of(&tokenizer(&WORDS), config.as_bytes(), Some(TEMPLATE.into())).unwrap();
    assert_eq!(apart.ids(&request(json!({})), &answer("b c", "stop")).unwrap(), ids(&[5, 6, 3]));
    assert_ne!(apart.template_digest, hex::encode(sha256(config.as_bytes())));
    let mut words = WORDS;
    words.swap(5, 6);
    let swapped = json!({"chat_template": TEMPLATE, "eos_token": "<end>"}).to_string();
    let swapped = Model::of(&tokenizer(&words), swapped.as_bytes(), None).unwrap();
    assert_ne!(swapped.tokenizer_digest, one.tokenizer_digest);
    // The same ids are another text by it.
    differs(
        swapped.check(&ids(&[5, 6, 3]), &request(json!({})), &answer("b c", "stop")),
        "not those of the request",
    );

    assert!(matches!(
        Model::of(b"{}", config.as_bytes(), None),
        Err(ModelError::Unread("tokenizer.json", _))
    ));
    let endless = json!({"chat_template": "x", "eos_token": "none of them"}).to_string();
    assert!(matches!(
        Model::of(&tokenizer(&WORDS), endless.as_bytes(), None),
        Err(ModelError::Unread("tokenizer.json", _))
    ));
    let missing = Model::read::<ModelError>(|_| Ok(None));
    assert!(matches!(missing, Err(ModelError::Missing("tokenizer.json"))));
}
