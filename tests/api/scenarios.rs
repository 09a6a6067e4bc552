//! scen
