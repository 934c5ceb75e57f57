//! The progress of work in steps: a bar on a terminal, lines in a pipe.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::output::Output;
use crate::widen::to_u64;

pub(crate) struct Progress<'a> {
    output: &'a Output,
    bar: Option<ProgressBar>,
}

impl<'a> Progress<'a> {
    pub(crate) fn new(output: &'a Output, total: usize) -> Self {
        let bar = output.shows_progress().then(|| {
            let bar = ProgressBar::new(to_u64(total));
            let style =
                ProgressStyle::with_template("[{bar:20}] {pos} of {len}  {wide_msg}").expect("a valid template");
            bar.set_style(style.progress_chars("=> "));
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        Self { output, bar }
    }

    pub(crate) fn begin(&self, text: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(text.to_owned());
        }
    }

    /// Prints a line that stays.
    pub(crate) fn end(&self, text: &str) {
        match &self.bar {
            Some(bar) => {
                bar.suspend(|| self.output.line(text));
                bar.inc(1);
            }
            None => self.output.line(text),
        }
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
