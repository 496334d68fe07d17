//! JSON values taken as they come: a member of an unexpected type is noticed, and never spoils its neighbours.

use std::borrow::Cow;

use super::MAX_CHOICES;
use super::scan::{Fault, Scanner, Skipped};

#[cfg(test)]
mod reference;

/// What can be filled from a text: from before its value to after it. In place, since some of it is large.
pub(super) trait Read<'a>: Default {
    fn fill(&mut self, scan: &mut Scanner<'a>) -> Option<()>;
}

/// Reads a text that holds one value and nothing else.
pub(super) fn parse<'a, T: Read<'a>>(text: &'a [u8], value: &mut T) -> Result<(), Fault> {
    parse_noting(text, value).map(drop)
}

/// The same, and where the texts lie that were skipped.
pub(super) fn parse_noting<'a, T: Read<'a>>(text: &'a [u8], value: &mut T) -> Result<Skipped, Fault> {
    let mut scan = Scanner::new(text);
    // A fault is kept.
    let _ = value.fill(&mut scan);
    scan.end().map(|()| scan.skipped())
}

impl<'a, T: Read<'a>> Read<'a> for Box<T> {
    fn fill(&mut self, scan: &mut Scanner<'a>) -> Option<()> {
        T::fill(self, scan)
    }
}

/// Any JSON value; `null` counts as absent. An array, a negative or a fractional number is `Other`. `T` reads objects.
#[derive(Default)]
#[cfg_attr(test, derive(Debug, PartialEq))]
pub(super) enum Loose<'a, T = Nothing> {
    #[default]
    Absent,
    Text(Cow<'a, [u8]>),
    Number(u64),
    Flag(bool),
    Map(T),
    Other,
}

/// An object whose members do not matter.
#[derive(Default)]
#[cfg_attr(test, derive(Debug, PartialEq, serde::Deserialize))]
pub(super) struct Nothing {}

impl<'a> Read<'a> for Nothing {
    fn fill(&mut self, scan: &mut Scanner<'a>) -> Option<()> {
        scan.skip()
    }
}

impl<T> Loose<'_, T> {
    pub(super) fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    /// The text as it came: it may be no UTF-8.
    pub(super) fn text(&self) -> Option<&[u8]> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn is(&self, text: &str) -> bool {
        self.text() == Some(text.as_bytes())
    }

    pub(super) fn number(&self) -> Option<u64> {
        match self {
            Self::Number(number) => Some(*number),
            _ => None,
        }
    }

    pub(super) fn map(&self) -> Option<&T> {
        match self {
            Self::Map(map) => Some(map),
            _ => None,
        }
    }
}

impl<'a, T: Read<'a>> Read<'a> for Loose<'a, T> {
    #[inline]
    fn fill(&mut self, scan: &mut Scanner<'a>) -> Option<()> {
        *self = match scan.peek()? {
            b'"' => Self::Text(scan.string()?),
            b'{' => {
                *self = Self::Map(T::default());
                let Self::Map(map) = self else { return None };
                return map.fill(scan);
            }
            b'-' | b'0'..=b'9' => scan.number()?.map_or(Self::Other, Self::Number),
            other => {
                scan.skip()?;
                match other {
                    b'n' => Self::Absent,
                    b't' | b'f' => Self::Flag(other == b't'),
                    _ => Self::Other,
                }
            }
        };
        Some(())
    }
}

/// A value as it is written.
#[derive(Default)]
#[cfg_attr(test, derive(Debug, PartialEq))]
pub(super) struct Raw<'a>(pub(super) &'a [u8]);

impl<'a> Read<'a> for Raw<'a> {
    fn fill(&mut self, scan: &mut Scanner<'a>) -> Option<()> {
        self.0 = scan.raw()?;
        Some(())
    }
}

/// The objects of an array, at most [`MAX_CHOICES`] of them. Anything but an array is empty. The first lies inline,
/// because a chunk of a stream nearly always has exactly one.
#[cfg_attr(test, derive(Debug, PartialEq))]
pub(super) struct List<T> {
    first: Option<T>,
    rest: Vec<T>,
    pub(super) overflowed: bool,
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self { first: None, rest: Vec::new(), overflowed: false }
    }
}

impl<T> List<T> {
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.first.iter().chain(&self.rest)
    }

    /// Room for one more.
    fn next(&mut self) -> Option<&mut T>
    where
        T: Default,
    {
        if self.first.is_none() {
            return Some(self.first.insert(T::default()));
        }
        if self.rest.len() + 1 < MAX_CHOICES {
            self.rest.push(T::default());
            return self.rest.last_mut();
        }
        self.overflowed = true;
        None
    }
}

impl<'a, T: Read<'a>> Read<'a> for List<T> {
    fn fill(&mut self, scan: &mut Scanner<'a>) -> Option<()> {
        if scan.peek()? != b'[' {
            return scan.skip();
        }
        let mut within = scan.array()?;
        while scan.element(&mut within) {
            let item = if scan.peek()? == b'{' { self.next() } else { None };
            match item {
                Some(item) => item.fill(scan)?,
                None => scan.skip()?,
            }
        }
        scan.sound()
    }
}

/// Generates a struct of members that may be absent, and its reader. The members it does not know are skipped; one that
/// it knows and that comes twice is a fault.
macro_rules! members {
    ($($(#[$doc:meta])* $vis:vis struct $name:ident<'a> {
        $($(#[$entry_doc:meta])* $key:literal $entry_vis:vis $entry:ident : $kind:ty,)*
    })*) => { $(
        $(#[$doc])*
        #[derive(Default)]
        #[cfg_attr(test, derive(Debug, PartialEq, serde::Deserialize))]
        #[cfg_attr(test, serde(default, bound(deserialize = "'de: 'a")))]
        $vis struct $name<'a> {
            $($(#[$entry_doc])* #[cfg_attr(test, serde(rename = $key))] $entry_vis $entry: $kind,)*
        }

        impl<'a> crate::loose::Read<'a> for $name<'a> {
            fn fill(&mut self, scan: &mut crate::scan::Scanner<'a>) -> Option<()> {
                #[derive(Clone, Copy)]
                #[allow(non_camel_case_types)]
                enum Member { $($entry),* }
                fn known(key: &[u8]) -> Option<Member> {
                    Some(match key {
                        $(key if key == $key.as_bytes() => Member::$entry,)*
                        _ => return None,
                    })
                }
                let mut seen = 0_u64;
                let mut within = scan.object()?;
                while let Some(key) = scan.member(&mut within) {
                    // A known key has no escapes in it, unless it is spelt with them.
                    let member = known(key).or_else(|| known(&scan.unescaped(key)?));
                    let Some(member) = member else {
                        scan.skip()?;
                        continue;
                    };
                    let bit = 1 << member as u32;
                    if seen & bit != 0 {
                        return scan.fail(crate::scan::Fault::DuplicateKey);
                    }
                    seen |= bit;
                    match member {
                        $(Member::$entry => crate::loose::Read::fill(&mut self.$entry, scan)?,)*
                    }
                }
                scan.sound()
            }
        }
    )* };
}
pub(super) use members;
