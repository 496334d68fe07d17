//! The table of docs/PERFORMANCE.md, with what follows from it, and the same for a program.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{CONTENDERS, How, Place, Turn, Turns};
use crate::bench::aim::Aim;
use crate::bench::report::{spread, title};
use crate::bench::rounds::{CONNECTIONS, Spread};

/// What two cores shall do, times what one does.
const AIM: Aim = Aim::AtLeast(1.8);

/// All of a run.
pub(super) struct Report {
    /// In one line.
    pub(super) machine: String,
    /// Others kept the machine busy before the run.
    pub(super) noisy: bool,
    pub(super) seconds: u64,
    pub(super) how: How,
    pub(super) places: Vec<Place>,
    pub(super) measured: Vec<Turns>,
}

impl Report {
    pub(super) fn table(&self) -> String {
        let rounds = self.measured.first().map_or(0, |measured| measured.turns.len());
        let mut text = format!(
            "Machine: {}.\n{rounds} rounds of {} s each, {CONNECTIONS} connections, 1.5 KB up and 1.5 KB down. Medians, with the \
             least and the most of the rounds.\n\n\
             | | requests/s | of one core | CPU µs/request | of one core | waits of a thread/request | its cores busy, % |\n\
             |---|---:|---:|---:|---:|---:|---:|\n",
            self.machine, self.seconds,
        );
        // Beside a load that takes what it can get of the same cores, requests a second say nothing.
        let shown = |figure| if self.how == How::Measured { figure } else { "–".to_owned() };
        for turns in &self.measured {
            let of = |value: fn(&Turn) -> f64| Spread::of(turns.turns.iter().map(value));
            let first = |value: fn(&Turn) -> f64| spread(self.ratio(turns.name, turns.place, 0, value), 2);
            let _ = writeln!(
                text,
                "| {}, {} | {} | {} | {} | {} | {} | {} |",
                title(turns.name),
                self.places.get(turns.place).map_or("", |place| place.title),
                shown(spread(of(|turn| turn.per_second), 0)),
                shown(first(|turn| turn.per_second)),
                spread(of(|turn| turn.cpu_us), 1),
                first(|turn| turn.cpu_us),
                spread(of(|turn| turn.waits), 2),
                spread(of(|turn| turn.busy), 0),
            );
        }
        text.push('\n');
        text.push_str(&self.conclusion());
        text
    }

    /// What two cores do, in sentences that say whether it was seen.
    fn conclusion(&self) -> String {
        let mut text = match self.how {
            How::Measured => "Measured as throughput, the load on other cores.".to_owned(),
            How::Derived => "**Derived, not measured as throughput:** on two cores the load takes a part of both. A request that \
                             costs c₁ with one thread and c₂ with two allows two cores 2 · c₁ / c₂ times what one core does. It \
                             takes for granted that no thread idles while there is work: with two threads both cores would not \
                             be busy then."
                .to_owned(),
        };
        for name in CONTENDERS {
            let gain = self.gain(name);
            // A figure of a noisy run decides nothing.
            let aim = match name {
                "plain" => String::new(),
                _ if self.noisy => "; not decided".to_owned(),
                _ => format!("; aim {}", AIM.said(gain.median)),
            };
            let at_most = if self.how == How::Derived { "at most " } else { "" };
            let _ =
                write!(text, "\n{}: two cores do {at_most}{} × one core{aim}.", title(name), spread(gain, 2));
        }
        if self.noisy {
            // Whoever is interrupted with a lock in hand makes the other thread wait, and caches are others'.
            text.push_str("\nOthers kept the machine busy: **noisy: do not rely on these figures**.");
        }
        text.push('\n');
        text
    }

    /// What two cores do, times what one does.
    fn gain(&self, name: &str) -> Spread {
        match self.how {
            How::Measured => self.ratio(name, 1, 0, |turn| turn.per_second),
            How::Derived => {
                let cost = self.ratio(name, 1, 2, |turn| turn.cpu_us);
                Spread { median: 2.0 * cost.median, least: 2.0 * cost.least, most: 2.0 * cost.most }
            }
        }
    }

    /// One place against another one of the same round.
    fn ratio(&self, name: &str, place: usize, other: usize, value: fn(&Turn) -> f64) -> Spread {
        let of = |place| {
            let turns = self.measured.iter().find(|turns| turns.name == name && turns.place == place);
            turns.map_or(&[][..], |turns| &turns.turns)
        };
        Spread::of(of(place).iter().zip(of(other)).map(|(own, other)| value(own) / value(other)))
    }

    pub(super) fn json(&self) -> Value {
        let measured = self.measured.iter().map(|turns| {
            let rounds = turns.turns.iter().map(|turn| {
                json!({
                    "requests_per_second": turn.per_second,
                    "cpu_us_per_request": turn.cpu_us,
                    "waits_per_request": turn.waits,
                    "cores_busy_percent": turn.busy,
                })
            });
            json!({
                "name": turns.name,
                "place": self.places.get(turns.place).map(|place| place.title),
                "rounds": rounds.collect::<Vec<_>>(),
            })
        });
        let gains = CONTENDERS.map(|name| (name.to_owned(), json!(self.gain(name).median)));
        json!({
            "machine": self.machine,
            "seconds": self.seconds,
            "connections": CONNECTIONS,
            "noisy": self.noisy,
            "measured_as_throughput": self.how == How::Measured,
            "two_cores_times_one": gains.into_iter().collect::<serde_json::Map<_, _>>(),
            "contenders": measured.collect::<Vec<_>>(),
        })
    }
}
