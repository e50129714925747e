//! The charts as SVG path data: newest at the right edge, one unit a second, values already scaled to the height.
//!
//! Text made of numbers only, so it cannot carry anything into the page. Limits: the width is [`WIDTH`], the height
//! [`HEIGHT`] units; the page stretches them.

use std::fmt::Write;
use std::time::Duration;

use crate::ops::live::history::KEPT;

/// Units from left to right: one for each second that is remembered.
pub(super) const WIDTH: usize = KEPT;

/// Units from top to bottom of a curve.
pub(super) const HEIGHT: f64 = 60.0;

/// Space above a curve's peak, so that its line is not cut.
const HEADROOM: f64 = 3.0;

/// The fastest and the slowest duration on the logarithmic scale: four decades and a half.
const SHORTEST: f64 = 0.000_1;
const LONGEST: f64 = 5.0;

/// The area below a curve of values from 0 to `peak`; empty when every value is zero.
pub(super) fn area(values: impl ExactSizeIterator<Item = f64> + Clone, peak: f64) -> String {
    if values.len() < 2 || values.clone().all(|value| value <= 0.0) {
        return String::new();
    }
    let first = WIDTH - values.len();
    let mut path = format!("M{first} {HEIGHT}");
    for (second, value) in values.enumerate() {
        let _ = write!(path, "L{} {:.1}", first + second, height_of(value / peak));
    }
    let _ = write!(path, "L{} {HEIGHT}Z", WIDTH - 1);
    path
}

/// The curve of values from 0 to `peak`.
pub(super) fn line(values: impl ExactSizeIterator<Item = f64>, peak: f64) -> String {
    curve(values.map(|value| Some(height_of(value / peak))))
}

/// The curve of durations on a logarithmic scale, broken where there is none.
pub(super) fn durations(values: impl ExactSizeIterator<Item = Option<Duration>>) -> String {
    curve(values.map(|value| value.map(|duration| height_of(share_of_decades(duration)))))
}

/// A horizontal line at one duration.
pub(super) fn level(duration: Duration) -> String {
    format!("M0 {:.1}H{}", height_of(share_of_decades(duration)), WIDTH - 1)
}

/// Boxes from `top` to `bottom` over every second in which `is_so` holds; neighbours become one box.
pub(super) fn boxes(seconds: impl ExactSizeIterator<Item = bool>, top: usize, bottom: usize) -> String {
    let first = WIDTH - seconds.len();
    let mut path = String::new();
    let mut began = None;
    for (second, is_so) in seconds.chain([false]).enumerate() {
        match (is_so, began) {
            (true, None) => began = Some(first + second),
            (false, Some(left)) => {
                let right = first + second;
                let _ = write!(path, "M{left} {top}H{right}V{bottom}H{left}Z");
                began = None;
            }
            _ => {}
        }
    }
    path
}

fn curve(heights: impl ExactSizeIterator<Item = Option<f64>>) -> String {
    let first = WIDTH - heights.len();
    let mut path = String::new();
    let mut pen_is_down = false;
    for (second, height) in heights.enumerate() {
        if let Some(height) = height {
            // A move alone draws nothing: `h0` makes a lonely value a dot.
            let (verb, dot) = if pen_is_down { ('L', "") } else { ('M', "h0") };
            let _ = write!(path, "{verb}{} {height:.1}{dot}", first + second);
        }
        pen_is_down = height.is_some();
    }
    path
}

fn height_of(share: f64) -> f64 {
    HEIGHT - share.clamp(0.0, 1.0) * (HEIGHT - HEADROOM)
}

fn share_of_decades(duration: Duration) -> f64 {
    let seconds = duration.as_secs_f64().max(SHORTEST);
    (seconds / SHORTEST).log10() / (LONGEST / SHORTEST).log10()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_value_stands_at_the_right_edge() {
        assert_eq!(area([0.0, 2.0].into_iter(), 2.0), "M298 60L298 60.0L299 3.0L299 60Z");
        assert_eq!(line([0.0, 2.0].into_iter(), 2.0), "M298 60.0h0L299 3.0");
        assert_eq!(area([0.0, 0.0].into_iter(), 1.0), "", "nothing happened, nothing is drawn");
    }

    #[test]
    fn a_curve_is_broken_where_nothing_was_measured() {
        let values =
            [Some(Duration::from_micros(100)), None, Some(Duration::from_secs(5)), Some(Duration::from_secs(9))];
        assert_eq!(durations(values.into_iter()), "M296 60.0h0M298 3.0h0L299 3.0");
    }

    #[test]
    fn neighbouring_seconds_share_a_box() {
        assert_eq!(boxes([true, true, false, true].into_iter(), 2, 9), "M296 2H298V9H296ZM299 2H300V9H299Z");
        assert_eq!(boxes([false; 3].into_iter(), 0, 1), "");
    }
}
