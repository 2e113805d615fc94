//! Laws of the network, and the shipped link classes.
