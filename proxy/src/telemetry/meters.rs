//! Histograms by the semantic conventions for generative AI, as Prometheus names them.

use super::{Ended, Told, gen_ai, seconds};
use colophon_receipt::Outcome;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

/// Pairs of operation and model that have series of their own; models beyond are counted together, as `_other`: a server
/// that repeats whatever its clients name must not fill the memory of those who scrape.
const MAX_SERIES: usize = 64;
/// A model's name is cut after so many bytes.
const MAX_NAME: usize = 128;
const OTHER: &[u8] = b"_other";

type Labels = Vec<(&'static str, String)>;
type ByModel = HashMap<Vec<u8>, Arc<Series>>;
type Histograms = Family<Labels, Histogram, fn() -> Histogram>;

/// The histograms, and for each operation and model those that an exchange touches.
pub struct Meters {
    duration: Histograms,
    first_token: Histograms,
    each_token: Histograms,
    tokens: Histograms,
    /// By operation, then by model.
    series: RwLock<HashMap<&'static str, ByModel>>,
}

/// Of one operation by one model. Each is made when there is something to count: what never had tokens, or never streamed,
/// has no series of zeros.
struct Series {
    labels: Labels,
    /// By outcome.
    durations: [OnceLock<Histogram>; 5],
    first_token: OnceLock<Histogram>,
    each_token: OnceLock<Histogram>,
    input: OnceLock<Histogram>,
    output: OnceLock<Histogram>,
}

impl Meters {
    /// Registers them; the registry has no prefix, since the names are everybody's.
    pub fn new(registry: &mut Registry) -> Meters {
        let meters = Meters {
            duration: Family::new_with_constructor(|| Histogram::new(gen_ai::DURATION)),
            first_token: Family::new_with_constructor(|| Histogram::new(gen_ai::FIRST_TOKEN)),
            each_token: Family::new_with_constructor(|| Histogram::new(gen_ai::EACH_TOKEN)),
            tokens: Family::new_with_constructor(|| Histogram::new(gen_ai::TOKENS)),
            series: RwLock::default(),
        };
        for (named, help, family) in [
            (
                gen_ai::REQUEST_DURATION,
                "Time from a request's head to the end of its answer",
                &meters.duration,
            ),
            (
                gen_ai::TIME_TO_FIRST_TOKEN,
                "Time from a request's head to the first byte of a stream",
                &meters.first_token,
            ),
            (
                gen_ai::TIME_PER_OUTPUT_TOKEN,
                "Time of a stream after its first byte, for each token after the first",
                &meters.each_token,
            ),
            (gen_ai::TOKEN_USAGE, "Tokens of prompt and answer, as the server counts them", &meters.tokens),
        ] {
            registry.register(named.scraped, help, family.clone());
        }
        meters
    }

    /// Counts an exchange that ended.
    pub fn ended(&self, ended: &Ended<'_>) {
        let Some(operation) = gen_ai::operation(ended.api) else { return };
        let series = self.series(operation, ended.told);
        if let Some(durations) = series.durations.get(ended.outcome.code() as usize) {
            let error = (ended.outcome != Outcome::Complete)
                .then(|| (gen_ai::ERROR_LABEL.scraped, ended.outcome.as_str()));
            let time = seconds(ended.received_at, ended.completed);
            series.observe(durations, &self.duration, error, time);
        }
        if ended.outcome != Outcome::Complete {
            return;
        }
        let Told { input_tokens, output_tokens, streamed, .. } = *ended.told;
        for (tokens, histogram, kind) in
            [(input_tokens, &series.input, "input"), (output_tokens, &series.output, "output")]
        {
            if let Some(tokens) = tokens {
                series.observe(
                    histogram,
                    &self.tokens,
                    Some((gen_ai::TOKEN_TYPE_LABEL.scraped, kind)),
                    tokens as f64,
                );
            }
        }
        // Of an answer that came at once nobody saw the first token.
        let Some(first) = ended.first_byte.filter(|_| streamed) else { return };
        series.observe(&series.first_token, &self.first_token, None, seconds(ended.received_at, first));
        if let Some(more) = output_tokens.and_then(|tokens| tokens.checked_sub(1)).filter(|more| *more > 0) {
            let each = seconds(first, ended.completed) / more as f64;
            series.observe(&series.each_token, &self.each_token, None, each);
        }
    }

    fn series(&self, operation: &'static str, told: &Told) -> Arc<Series> {
        let model = told.reported.as_deref().unwrap_or_default();
        let model = model.get(..MAX_NAME).unwrap_or(model);
        {
            let known = self.series.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(series) = known.get(operation).and_then(|models| models.get(model)) {
                return series.clone();
            }
        }
        let mut known = self.series.write().unwrap_or_else(PoisonError::into_inner);
        let full = known.values().map(HashMap::len).sum::<usize>() >= MAX_SERIES;
        let models = known.entry(operation).or_default();
        let name = if full && !models.contains_key(model) { OTHER } else { model };
        if let Some(series) = models.get(name) {
            return series.clone();
        }
        let series = Arc::new(Series::new(operation, &String::from_utf8_lossy(name)));
        models.insert(name.to_vec(), series.clone());
        series
    }
}

impl Series {
    fn new(operation: &str, model: &str) -> Series {
        let none = OnceLock::new;
        Series {
            labels: vec![
                (gen_ai::OPERATION_LABEL.scraped, operation.to_owned()),
                (gen_ai::PROVIDER_LABEL.scraped, gen_ai::PROVIDER.to_owned()),
                (gen_ai::MODEL_LABEL.scraped, model.to_owned()),
            ],
            durations: Default::default(),
            first_token: none(),
            each_token: none(),
            input: none(),
            output: none(),
        }
    }

    /// `more` is a label beyond those that all have.
    fn observe(
        &self,
        histogram: &OnceLock<Histogram>,
        family: &Histograms,
        more: Option<(&'static str, &str)>,
        value: f64,
    ) {
        let made = || {
            let mut labels = self.labels.clone();
            labels.extend(more.map(|(key, value)| (key, value.to_owned())));
            family.get_or_create_owned(&labels)
        };
        histogram.get_or_init(made).observe(value);
    }
}

#[cfg(test)]
mod tests;
