//! The worker processes.
