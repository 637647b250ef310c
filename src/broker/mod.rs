//! The routing of each pattern as a sans-IO core.
