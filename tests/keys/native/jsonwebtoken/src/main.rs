// Verify tokens by jsonwebtoken: FOLDER ALGORITHM ISSUER AUDIENCE TOKEN ...
use jsonwebtoken::{decode, decode_header, jwk, Algorithm, DecodingKey, Validation};
use serde_json::Value;
use std::{env, error::Error, fs, str::FromStr};

fn read(arguments: &[String], token: &str) -> Result<String, Box<dyn Error>> {
    let text = fs::read_to_string(format!("{}/keys.jwks", arguments[1]))?;
    let algorithm = Algorithm::from_str(&arguments[2])?;
    let keys: jwk::JwkSet = serde_json::from_str(&text)?;
    let kid = decode_header(token)?.kid.ok_or("no kid")?;
    let key = match &keys.find(&kid).ok_or("unknown kid")?.algorithm {
        // DecodingKey::from_jwk doesn't take these.
        jwk::AlgorithmParameters::OctetKey(_) => {
            DecodingKey::from_secret(&fs::read(format!("{}/secret", arguments[1]))?)
        }
        _ => DecodingKey::from_jwk(keys.find(&kid).unwrap())?,
    };
    let mut validation = Validation::new(algorithm);
    validation.set_issuer(&[&arguments[3]]);
    validation.set_audience(&[&arguments[4]]);
    let claims = decode::<Value>(token, &key, &validation)?.claims;
    Ok(claims["sub"].as_str().unwrap_or("").to_string())
}

fn main() {
    let arguments: Vec<String> = env::args().collect();
    for token in &arguments[5..] {
        match read(&arguments, token) {
            Ok(subject) => println!("ok {subject}"),
            Err(error) => println!("no {error}"),
        }
    }
}
