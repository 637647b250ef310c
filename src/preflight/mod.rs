//! What is checked before Torus runs, and by `torus check`: kernel, Docker, host, Torus itself.
//!
//! Facts are gathered at the edges of this room ([`gather`]), within bounds of time; verdicts are a pure function of facts,
//! configuration and purpose ([`judge`]); a [`Report`] is what people and programs read. Nothing is changed by checking.
//! What each check wants and why is told in docs/check.md.

mod facts;
mod gather;
mod report;
mod verdicts;

pub use facts::{
    Control, Data, DataLock, Docker, Engine, Fact, Facts, Host, Kernel, Options, Own, Passed, Port, PortState, Running,
    Unit, overlap,
};
pub use gather::{Asked, container, gather, purpose_here};
pub use report::{REPORT_VERSION, Report};
pub use verdicts::{KERNEL_MAINTAINED, KERNEL_MIN, State, Verdict, judge};

/// What a machine is to be good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Torus is PID 1 of a container, or runs in one.
    Container,
    /// Torus runs on this machine, or in containers on it.
    Host,
    /// The same, and the machine is a virtual one.
    Vm,
    /// The container image is built here.
    Build,
    /// Torus is a service of systemd: its ExecStartPre.
    Service,
}

impl Purpose {
    /// All purposes by their names.
    pub const ALL: [(&'static str, Self); 5] = [
        ("container", Self::Container),
        ("host", Self::Host),
        ("vm", Self::Vm),
        ("build", Self::Build),
        ("service", Self::Service),
    ];

    /// The purpose of that name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(known, _)| *known == name).map(|(_, purpose)| purpose)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Host => "host",
            Self::Vm => "vm",
            Self::Build => "build",
            Self::Service => "service",
        }
    }
}
