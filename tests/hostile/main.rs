//! Hostile and broken peers, at both doors: the worker lives, good clients are answered in time, memory stays within its
//! stated bound, and every refusal is counted under its reason.

mod crowds;
mod floods;
mod good;
mod held_up;
mod hoards;
mod house;
mod malformed;
mod peer;
mod pretenders;
#[path = "../support/mod.rs"]
mod support;
