//! Figures beside what they should be.

/// What a figure should be.
pub(super) enum Aim {
    AtLeast(f64),
    AtMost(f64),
    /// Nothing was promised.
    None,
}

impl Aim {
    pub(super) fn said(&self, value: f64) -> String {
        let (sign, aim, kept) = match self {
            Aim::AtLeast(aim) => ("≥", aim, value >= *aim),
            Aim::AtMost(aim) => ("≤", aim, value <= *aim),
            Aim::None => return "–".to_owned(),
        };
        format!("{sign} {} {}", number(*aim), if kept { "✓" } else { "**missed**" })
    }
}

/// As people read it: three figures, thousands apart.
pub(super) fn number(value: f64) -> String {
    match value.abs() {
        below if below < 10.0 => format!("{value:.2}"),
        below if below < 100.0 => format!("{value:.1}"),
        _ => {
            let digits = format!("{value:.0}");
            let mut out = String::new();
            for (at, digit) in digits.chars().enumerate() {
                if at > 0 && (digits.len() - at).is_multiple_of(3) {
                    out.push(',');
                }
                out.push(digit);
            }
            out
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Aim, number};

    #[test]
    fn numbers_and_aims_are_said_as_they_are() {
        let said: Vec<String> = [0.128, 6.0, 93.44, 200.0, 27_500.4, 10_000_000.0].map(number).into();
        assert_eq!(said, ["0.13", "6.00", "93.4", "200", "27,500", "10,000,000"]);
        assert_eq!(Aim::AtLeast(30_000.0).said(29_999.0), "≥ 30,000 **missed**");
        assert_eq!(Aim::AtMost(6.0).said(5.9), "≤ 6.00 ✓");
        assert_eq!(Aim::None.said(1.0), "–");
    }
}
