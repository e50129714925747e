//! The process as the kernel sees it, under the names every Prometheus client uses.
//!
//! Read from `/proc/self` at scrape. Where that does not exist the first three families are absent.

use std::fs;

use crate::telemetry::clock;

use super::export::{Export, Samples};
use super::table::{Family, PROCESS_CPU, PROCESS_FDS, PROCESS_MEMORY, PROCESS_START};

/// Clock ticks a second in `/proc`: USER_HZ, which Linux has fixed at 100 for user space whatever the kernel's own HZ.
const TICKS_PER_SECOND: f64 = 100.0;

/// The process families.
pub(super) struct ProcessMetrics {
    started_seconds: f64,
}

impl ProcessMetrics {
    pub(super) fn new() -> Self {
        let now = clock::now();
        Self { started_seconds: clock::wall_millis_at(clock::start(), now) as f64 / 1e3 }
    }
}

impl Export for ProcessMetrics {
    fn families(&self) -> Vec<&'static Family> {
        vec![&PROCESS_CPU, &PROCESS_FDS, &PROCESS_MEMORY, &PROCESS_START]
    }

    fn read(&self) -> Vec<Samples> {
        let values = [
            (&PROCESS_CPU, cpu_seconds()),
            (&PROCESS_FDS, open_descriptors()),
            (&PROCESS_MEMORY, resident_bytes()),
            (&PROCESS_START, Some(self.started_seconds)),
        ];
        let present = values.into_iter().filter_map(|(family, value)| {
            let mut samples = Samples::of(family);
            samples.add(&[], value?);
            Some(samples)
        });
        present.collect()
    }
}

fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the program's name in parentheses and may hold anything; count from its end.
    let after_name = stat.rsplit_once(')')?.1;
    let mut fields = after_name.split_ascii_whitespace().skip(11); // utime is field 14, stime 15
    let ticks: f64 = fields.next()?.parse::<f64>().ok()? + fields.next()?.parse::<f64>().ok()?;
    Some(ticks / TICKS_PER_SECOND)
}

fn open_descriptors() -> Option<f64> {
    let listed = fs::read_dir("/proc/self/fd").ok()?.count();
    Some(listed.saturating_sub(1) as f64) // the listing itself holds one
}

fn resident_bytes() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024.0)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_memory_descriptors_and_processor_time() {
        assert!(resident_bytes().is_some_and(|bytes| bytes > 100_000.0));
        assert!(open_descriptors().is_some_and(|count| count >= 3.0));
        assert!(cpu_seconds().is_some_and(|seconds| (0.0..86_400.0).contains(&seconds)));
    }
}
