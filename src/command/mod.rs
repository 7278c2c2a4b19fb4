//! What the operator does at the command line, one file for each noun.

pub mod audit;
