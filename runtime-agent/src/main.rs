mod sandbox;
mod sys;

fn main() {}
