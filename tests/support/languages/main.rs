//! Judges the deliveries on its standard input, in lines of fields in base64.
mod verify;

use base64::{engine::general_purpose::STANDARD, Engine};

fn main() {
    for line in std::io::stdin().lines() {
        let fields: Vec<Vec<u8>> =
            line.unwrap().split(',').map(|field| STANDARD.decode(field).unwrap()).collect();
        let text = |at: usize| std::str::from_utf8(&fields[at]).unwrap();
        let headers = verify::Headers { id: text(2), timestamp: text(3), signature: text(4) };
        println!("{}", verify::is_genuine(text(0), &headers, &fields[5], text(1).parse().unwrap()));
    }
}
