mod doctor;
mod engine;

fn main() {}
