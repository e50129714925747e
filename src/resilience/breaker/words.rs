//! The words of the breaker: states, causes, verdicts, and what a refusal says.
//!
//! Nygard's words: closed passes, open refuses, half-open probes. The spellings given by `as_str` are
//! part of the outside contract (status page, metrics, logs).

use std::time::Duration;

/// The state of a breaker.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Calls pass and are counted.
    Closed,
    /// Calls are refused until a probe is due.
    Open,
    /// Calls are refused while probes find out.
    HalfOpen,
    /// Calls are refused because the operator says so.
    ForcedOpen,
    /// Calls pass whatever happens, because the operator says so.
    Disabled,
}

impl State {
    /// Every state, in the order used by reports.
    pub const ALL: [State; 5] = [Self::Closed, Self::Open, Self::HalfOpen, Self::ForcedOpen, Self::Disabled];

    /// The state as reports spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
            Self::ForcedOpen => "forced_open",
            Self::Disabled => "disabled",
        }
    }

    /// Whether calls are refused in this state.
    pub const fn refuses(self) -> bool {
        match self {
            Self::Closed | Self::Disabled => false,
            Self::Open | Self::HalfOpen | Self::ForcedOpen => true,
        }
    }
}

/// Why a breaker changed its state.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// Too many calls of the window failed.
    FailureRatio,
    /// Too many calls of the window were slow.
    SlowRatio,
    /// Requests stay unanswered and nothing arrives.
    Stall,
    /// Connects fail in a row.
    Connect,
    /// The open wait is over.
    ProbeDue,
    /// A probe failed, or its prober went away.
    ProbeFailed,
    /// All probes passed.
    ProbesPassed,
    /// The operator said so.
    Operator,
}

impl Cause {
    /// The cause as reports spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FailureRatio => "failure_ratio",
            Self::SlowRatio => "slow_ratio",
            Self::Stall => "stall",
            Self::Connect => "connect",
            Self::ProbeDue => "probe_due",
            Self::ProbeFailed => "probe_failed",
            Self::ProbesPassed => "probes_passed",
            Self::Operator => "operator",
        }
    }
}

/// What a finished call says about the health of the other side.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It works. Errors that are the caller's own belong here.
    Success,
    /// It does not.
    Failure,
    /// Nothing: the caller left, or the answer is neutral.
    Ignored,
}

/// What the operator wants of a breaker.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum Override {
    /// It decides by itself.
    Automatic,
    /// It refuses everything.
    ForcedOpen,
    /// It lets everything pass and never trips.
    Disabled,
}

impl Override {
    /// The override as reports spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Automatic => "automatic",
            Self::ForcedOpen => "forced_open",
            Self::Disabled => "disabled",
        }
    }
}

/// A call was refused before anything was sent.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The state that refused it.
    pub state: State,
    /// When trying again makes sense; never zero.
    pub retry_after: Duration,
}
