//! What a decision is made from.

use crate::api::Api;
use crate::routes::Route;
use http::{HeaderMap, Method, header};
use std::borrow::Cow;

/// What is known of a request when it is decided about.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// The method.
    pub method: &'a Method,
    /// The path as received, without the query.
    pub path: &'a str,
    /// The query as received, without `?`.
    pub query: Option<&'a str>,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// What [`identify`](crate::identify) says of `method` and `path`.
    pub route: &'a Route,
    /// The tenant that the caller belongs to. `None`: to none, so that no rule about tenants matches.
    pub tenant: Option<&'a str>,
    /// Who calls, as far as the proxy knows. `None`: nobody known, so that no rule about callers matches.
    pub caller: Option<&'a str>,
    /// The body.
    pub body: Body<'a>,
}

/// What is known of a request's body.
#[derive(Clone, Copy, Debug)]
pub enum Body<'a> {
    /// The request has none.
    Empty,
    /// It was not read, not wholly, or cannot be read without doubt: rules that ask about it are taken if they are
    /// stricter.
    Unread,
    /// It was read to its end.
    Read(Content<'a>),
}

/// What a body says.
#[derive(Clone, Copy, Debug)]
pub struct Content<'a> {
    /// The model that it names; `""` if it names none; `None` if that is in doubt. Where something is generated, no name is in doubt,
    /// too: the server takes the model that it has.
    pub model: Option<&'a str>,
    /// Whether it asks for a stream; `None` if that is in doubt.
    pub stream: Option<bool>,
    /// The values at [`Policy::pointers`](crate::Policy::pointers), in the same order. What is missing is in doubt.
    pub values: &'a [Value<'a>],
}

/// The value at a pointer into a JSON body.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// In doubt: a key on the way comes twice, or the value is too long to be kept.
    Unknown,
    /// There is none.
    Absent,
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number as written.
    Number(Cow<'a, str>),
    /// A string, its escapes undone.
    Text(Cow<'a, str>),
    /// An object or an array.
    Container,
}

/// A [`Head`] with what follows from it.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) head: &'a Head<'a>,
    /// The path as matched.
    pub(crate) path: &'a str,
    pub(crate) model: Model<'a>,
    /// `None`: in doubt.
    pub(crate) stream: Option<bool>,
}

/// The model that a request names.
#[derive(Clone, Copy)]
pub(crate) enum Model<'a> {
    /// The request cannot name one.
    Impossible,
    Unknown,
    Known(&'a str),
}

impl<'a> View<'a> {
    pub(crate) fn new(head: &'a Head<'a>) -> View<'a> {
        let says_nothing =
            matches!(head.route.api, Api::Models | Api::Health | Api::Admin | Api::ModelChange);
        let unread_model = if says_nothing { Model::Impossible } else { Model::Unknown };
        // The model of a WebSocket's session comes in its frames, that of a resumed answer is not named at all, and a server with one
        // model asks for no name.
        let unnamed = head.route.generating || head.headers.contains_key(header::UPGRADE);
        let (model, stream) = match head.body {
            Body::Read(Content { model: Some(""), stream, .. }) if unnamed => (unread_model, stream),
            Body::Read(content) => (content.model.map_or(unread_model, Model::Known), content.stream),
            Body::Unread => (unread_model, says_nothing.then_some(false)),
            Body::Empty if unnamed => (unread_model, says_nothing.then_some(false)),
            Body::Empty => (Model::Impossible, Some(false)),
        };
        let stream = if head.route.streams { Some(true) } else { stream };
        View { head, path: head.route.matched_path(head.path), model, stream }
    }

    /// The value at the pointer of this number.
    pub(crate) fn value(&self, pointer: usize) -> &'a Value<'a> {
        match self.head.body {
            Body::Empty => &Value::Absent,
            Body::Unread => &Value::Unknown,
            Body::Read(content) => content.values.get(pointer).unwrap_or(&Value::Unknown),
        }
    }
}
