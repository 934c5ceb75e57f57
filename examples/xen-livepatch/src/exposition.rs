//! The text format of Prometheus, of which all metrics here are gauges.

use std::collections::BTreeSet;
use std::fmt::Write as _;

/// The beginning of every name.
const PREFIX: &str = "xen_livepatch_";

#[derive(Debug, Default)]
pub(crate) struct Exposition(String);

impl Exposition {
    /// Adds a metric with its samples, each the values of its labels and a number. Of samples with the same labels the first
    /// counts, since Prometheus refuses a file with two. A metric without samples is left out.
    pub(crate) fn gauge<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        labels: [&str; N],
        samples: impl IntoIterator<Item = ([String; N], u64)>,
    ) {
        let Self(text) = self;
        let mut seen = BTreeSet::new();
        for (values, number) in samples {
            if seen.is_empty() {
                let _ = write!(text, "# HELP {PREFIX}{name} {help}\n# TYPE {PREFIX}{name} gauge\n");
            }
            let pairs = labels.iter().zip(&values).map(|(label, value)| format!("{label}=\"{}\"", escaped(value)));
            let pairs = pairs.collect::<Vec<_>>().join(",");
            let braces = if N == 0 { String::new() } else { format!("{{{pairs}}}") };
            if seen.insert(values) {
                let _ = writeln!(text, "{PREFIX}{name}{braces} {number}");
            }
        }
    }

    /// Adds a metric with one number.
    pub(crate) fn number(&mut self, name: &str, help: &str, number: impl Into<u64>) {
        self.gauge(name, help, [], [([], number.into())]);
    }

    pub(crate) fn into_text(self) -> String {
        self.0
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped_and_samples_unique() {
        let mut text = Exposition::default();
        let sample = |one: &str, number| ([one.to_owned(), "é\t".to_owned()], number);
        text.gauge("a", "Help.", ["x", "y"], [sample("a\"b\\n\n", 1), sample("", 2), sample("", 3)]);
        text.gauge("none", "Help.", ["x"], []);
        text.number("b", "More help.", true);
        let expected = "# HELP xen_livepatch_a Help.\n\
                        # TYPE xen_livepatch_a gauge\n\
                        xen_livepatch_a{x=\"a\\\"b\\\\n\\n\",y=\"é\t\"} 1\n\
                        xen_livepatch_a{x=\"\",y=\"é\t\"} 2\n\
                        # HELP xen_livepatch_b More help.\n\
                        # TYPE xen_livepatch_b gauge\n\
                        xen_livepatch_b 1\n";
        assert_eq!(text.into_text(), expected);
    }
}
