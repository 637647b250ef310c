//! PID 1's single-threaded loop: events in, lifecycle decides, actions performed through sys.
