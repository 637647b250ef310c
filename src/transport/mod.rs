//! Sockets, connections and the loop that drives a broker core.
