//! A world of workers and disks that obeys the steps and fails at will.

mod memory;
mod simulation;
mod swaps;
