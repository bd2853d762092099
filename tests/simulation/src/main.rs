//! The command line.
fn main() {
    let seed = std::env::args()
        .nth(1)
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(1);
    let options = millwright_simulation::Options {
        seed,
        days: 30,
        bug: millwright_simulation::Bug::None,
        printing: millwright_simulation::Printing::Quiet,
    };
    println!("{:?}", millwright_simulation::run(options));
}
