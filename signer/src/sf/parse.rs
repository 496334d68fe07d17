//! The parsing algorithms of RFC 9651 section 4.2, over bytes that are checked to be ASCII as they are read.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{BareItem, InnerList, Item, MAX_FIELD, MAX_INTEGER, MAX_MEMBERS, Member, Parameters, SfError};

/// Parses a field value that is one item.
pub fn parse_item(field: &str) -> Result<Item, SfError> {
    let mut cursor = Cursor::new(field)?;
    let item = cursor.item()?;
    cursor.end()?;
    Ok(item)
}

/// Parses a field value that is a dictionary; several field lines are joined with commas before. A repeated key is an
/// error.
pub fn parse_dictionary(field: &str) -> Result<Vec<(String, Member)>, SfError> {
    let mut cursor = Cursor::new(field)?;
    let mut members: Vec<(String, Member)> = Vec::new();
    while cursor.peek().is_some() {
        let key = cursor.key()?;
        if members.iter().any(|(known, _)| *known == key) {
            return Err(cursor.error("repeated key"));
        }
        if members.len() == MAX_MEMBERS {
            return Err(SfError::TooLong);
        }
        let member = cursor.member()?;
        members.push((key, member));
        cursor.skip(|byte| matches!(byte, b' ' | b'\t'));
        if cursor.peek().is_none() {
            break;
        }
        cursor.expect(b',')?;
        cursor.skip(|byte| matches!(byte, b' ' | b'\t'));
        if cursor.peek().is_none() {
            return Err(cursor.error("trailing comma"));
        }
    }
    Ok(members)
}

pub(super) fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(&byte)
}

struct Cursor<'a> {
    field: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    fn new(field: &'a str) -> Result<Cursor<'a>, SfError> {
        if field.len() > MAX_FIELD {
            return Err(SfError::TooLong);
        }
        let mut cursor = Cursor { field, at: 0 };
        cursor.skip(|byte| byte == b' ');
        Ok(cursor)
    }

    fn error(&self, what: &'static str) -> SfError {
        SfError::Syntax { what, at: self.at }
    }

    fn peek(&self) -> Option<u8> {
        self.field.as_bytes().get(self.at).copied()
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, byte: u8) -> Result<(), SfError> {
        if self.eat(byte) { Ok(()) } else { Err(self.error("unexpected character")) }
    }

    fn skip(&mut self, while_: impl Fn(u8) -> bool) {
        while self.peek().is_some_and(&while_) {
            self.at += 1;
        }
    }

    /// The bytes from here on that satisfy `while_`; these are ASCII for every caller.
    fn take(&mut self, while_: impl Fn(u8) -> bool) -> &'a str {
        let from = self.at;
        self.skip(|byte| byte.is_ascii() && while_(byte));
        self.field.get(from..self.at).unwrap_or_default()
    }

    fn end(&mut self) -> Result<(), SfError> {
        self.skip(|byte| byte == b' ');
        if self.peek().is_none() { Ok(()) } else { Err(self.error("unexpected character")) }
    }

    fn key(&mut self) -> Result<String, SfError> {
        if !self.peek().is_some_and(|byte| byte.is_ascii_lowercase() || byte == b'*') {
            return Err(self.error("expected a key"));
        }
        let key = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-.*".contains(&byte);
        Ok(self.take(key).to_owned())
    }

    fn member(&mut self) -> Result<Member, SfError> {
        if !self.eat(b'=') {
            let item = Item { value: BareItem::Boolean(true), params: self.parameters()? };
            return Ok(Member::Item(item));
        }
        if self.peek() == Some(b'(') {
            self.inner_list().map(Member::List)
        } else {
            self.item().map(Member::Item)
        }
    }

    fn inner_list(&mut self) -> Result<InnerList, SfError> {
        self.expect(b'(')?;
        let mut items = Vec::new();
        loop {
            self.skip(|byte| byte == b' ');
            if self.eat(b')') {
                return Ok(InnerList { items, params: self.parameters()? });
            }
            if items.len() == MAX_MEMBERS {
                return Err(SfError::TooLong);
            }
            items.push(self.item()?);
            if !matches!(self.peek(), Some(b' ' | b')')) {
                return Err(self.error("expected a space or a closing parenthesis"));
            }
        }
    }

    fn item(&mut self) -> Result<Item, SfError> {
        Ok(Item { value: self.bare_item()?, params: self.parameters()? })
    }

    fn parameters(&mut self) -> Result<Parameters, SfError> {
        let mut params: Vec<(String, BareItem)> = Vec::new();
        while self.eat(b';') {
            self.skip(|byte| byte == b' ');
            let key = self.key()?;
            if params.iter().any(|(known, _)| *known == key) {
                return Err(self.error("repeated parameter"));
            }
            if params.len() == MAX_MEMBERS {
                return Err(SfError::TooLong);
            }
            let value = if self.eat(b'=') { self.bare_item()? } else { BareItem::Boolean(true) };
            params.push((key, value));
        }
        Ok(Parameters(params))
    }

    fn bare_item(&mut self) -> Result<BareItem, SfError> {
        match self.peek() {
            Some(b'-' | b'0'..=b'9') => self.integer(),
            Some(b'"') => self.string(),
            Some(b'*' | b'a'..=b'z' | b'A'..=b'Z') => {
                Ok(BareItem::Token(self.take(is_token_byte).to_owned()))
            }
            Some(b':') => self.bytes(),
            Some(b'?') => self.boolean(),
            _ => Err(self.error("expected an item")),
        }
    }

    fn integer(&mut self) -> Result<BareItem, SfError> {
        let negative = self.eat(b'-');
        let digits = self.take(|byte| byte.is_ascii_digit());
        if self.peek() == Some(b'.') {
            return Err(self.error("a decimal"));
        }
        match digits.parse::<i64>() {
            Ok(n) if n <= MAX_INTEGER && digits.len() <= 15 => {
                Ok(BareItem::Integer(if negative { -n } else { n }))
            }
            _ => Err(self.error("not an integer of at most fifteen digits")),
        }
    }

    fn string(&mut self) -> Result<BareItem, SfError> {
        self.expect(b'"')?;
        let mut value = String::new();
        loop {
            value.push_str(self.take(|byte| (0x20..0x7f).contains(&byte) && byte != b'"' && byte != b'\\'));
            if self.eat(b'"') {
                return Ok(BareItem::String(value));
            }
            if !self.eat(b'\\') {
                return Err(self.error("unterminated or non-ASCII string"));
            }
            if self.eat(b'"') {
                value.push('"');
            } else if self.eat(b'\\') {
                value.push('\\');
            } else {
                return Err(self.error("unknown escape"));
            }
        }
    }

    fn bytes(&mut self) -> Result<BareItem, SfError> {
        self.expect(b':')?;
        let encoded = self.take(|byte| byte != b':');
        let decoded = STANDARD.decode(encoded).map_err(|_| self.error("not canonical base64"))?;
        self.expect(b':')?;
        Ok(BareItem::Bytes(decoded))
    }

    fn boolean(&mut self) -> Result<BareItem, SfError> {
        self.expect(b'?')?;
        if self.eat(b'1') {
            Ok(BareItem::Boolean(true))
        } else {
            self.expect(b'0').map(|()| BareItem::Boolean(false))
        }
    }
}
