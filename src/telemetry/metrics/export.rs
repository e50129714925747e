//! From our numbers to the data model of the `prometheus` crate.
//!
//! The crate owns the registry and the text format; the numbers live in our own cells, because its vectors look a
//! label set up by hash under a lock. A part of the metrics implements [`Export`], and [`Registered`] makes it a
//! `Collector`.

use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto;

use super::table::{Family, Kind};

/// A part that can be read when somebody scrapes.
pub(super) trait Export: Send + Sync + 'static {
    /// The families this part fills.
    fn families(&self) -> Vec<&'static Family>;
    /// Their present values.
    fn read(&self) -> Vec<Samples>;
}

/// The samples of one family.
pub(super) struct Samples {
    family: &'static Family,
    metrics: Vec<proto::Metric>,
}

/// What one histogram holds, counts not yet accumulated.
pub(super) struct Distribution {
    /// One count for each bound of the family, then one for what lies above.
    pub(super) counts: Vec<u64>,
    /// Seconds.
    pub(super) sum: f64,
}

impl Samples {
    pub(super) fn of(family: &'static Family) -> Self {
        Self { family, metrics: Vec::new() }
    }

    /// Adds a counter or gauge value; `labels` in the order of the table.
    pub(super) fn add(&mut self, labels: &[&str], value: f64) {
        let mut metric = self.labelled(labels);
        match self.family.kind {
            Kind::Counter => metric.set_counter(counter(value)),
            Kind::Gauge => metric.set_gauge(gauge(value)),
            Kind::Histogram(_) => debug_assert!(false, "{} takes distributions", self.family.name),
        }
        self.metrics.push(metric);
    }

    /// Adds a histogram; `labels` in the order of the table.
    pub(super) fn add_distribution(&mut self, labels: &[&str], distribution: &Distribution) {
        let Kind::Histogram(bounds) = self.family.kind else {
            debug_assert!(false, "{} takes single values", self.family.name);
            return;
        };
        let mut metric = self.labelled(labels);
        metric.set_histogram(histogram(bounds, distribution));
        self.metrics.push(metric);
    }

    fn labelled(&self, labels: &[&str]) -> proto::Metric {
        debug_assert_eq!(labels.len(), self.family.labels.len(), "{}", self.family.name);
        let pairs = self.family.labels.iter().zip(labels).map(|((name, _), value)| {
            let mut pair = proto::LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*value).to_owned());
            pair
        });
        proto::Metric::from_label(pairs.collect())
    }

    /// The family, unless it has no sample: the text format has no empty families.
    fn into_family(self) -> Option<proto::MetricFamily> {
        if self.metrics.is_empty() {
            return None;
        }
        let mut family = proto::MetricFamily::default();
        family.set_name(self.family.name.to_owned());
        family.set_help(self.family.help.to_owned());
        family.set_field_type(match self.family.kind {
            Kind::Counter => proto::MetricType::COUNTER,
            Kind::Gauge => proto::MetricType::GAUGE,
            Kind::Histogram(_) => proto::MetricType::HISTOGRAM,
        });
        family.set_metric(self.metrics);
        Some(family)
    }
}

/// A part as the registry wants it.
pub(super) struct Registered<T> {
    part: Arc<T>,
    descriptions: Vec<Desc>,
}

impl<T: Export> Registered<T> {
    pub(super) fn new(part: Arc<T>) -> prometheus::Result<Self> {
        let descriptions = part.families().into_iter().map(description).collect::<Result<_, _>>()?;
        Ok(Self { part, descriptions })
    }
}

impl<T: Export> Collector for Registered<T> {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        self.part.read().into_iter().filter_map(Samples::into_family).collect()
    }
}

fn description(family: &'static Family) -> prometheus::Result<Desc> {
    let labels = family.labels.iter().map(|(name, _)| (*name).to_owned()).collect();
    Desc::new(family.name.to_owned(), family.help.to_owned(), labels, Default::default())
}

fn counter(value: f64) -> proto::Counter {
    let mut counter = proto::Counter::default();
    counter.set_value(value);
    counter
}

fn gauge(value: f64) -> proto::Gauge {
    let mut gauge = proto::Gauge::default();
    gauge.set_value(value);
    gauge
}

fn histogram(bounds: &[u64], distribution: &Distribution) -> proto::Histogram {
    let mut below = 0;
    let buckets = bounds.iter().zip(&distribution.counts).map(|(micros, count)| {
        below += count;
        let mut bucket = proto::Bucket::default();
        bucket.set_upper_bound(*micros as f64 / 1e6);
        bucket.set_cumulative_count(below);
        bucket
    });
    let mut histogram = proto::Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(distribution.counts.iter().sum());
    histogram.set_sample_sum(distribution.sum);
    histogram
}
