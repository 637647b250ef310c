//! ZMTP as a sans-IO codec.
