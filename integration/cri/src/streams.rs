//! Sessions of containerd's streaming server over WebSocket.
//!
//! A message begins with the number of its channel. In a session 0 is standard input, 1 and 2 are the
//! outputs, and 3 is the result as JSON. When a port is forwarded, 0 is data and 1 is an error; the first
//! message of each has the number of the port in two bytes, the lower one first.

use serde_json::Value;
use std::error::Error;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;
use tungstenite::client::IntoClientRequest;
use tungstenite::http::HeaderValue;
use tungstenite::{Message, WebSocket};

const TIMEOUT: Duration = Duration::from_secs(60);

type Socket = WebSocket<TcpStream>;
/// The number of a channel, and the content of a message.
type Content = (u8, Vec<u8>);

fn connect(url: &str, protocol: &'static str) -> Result<Socket, Box<dyn Error>> {
    let mut request = url.replacen("http", "ws", 1).into_client_request()?;
    request.headers_mut().insert("Sec-WebSocket-Protocol", HeaderValue::from_static(protocol));
    let address = request.uri().authority().ok_or("the URL has no address")?.to_string();
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    let (socket, answer) = tungstenite::client(request, stream)?;
    match answer.headers().get("Sec-WebSocket-Protocol") {
        Some(chosen) if chosen == protocol => Ok(socket),
        other => Err(format!("the server chose the protocol {other:?}").into()),
    }
}

/// Standard input as a whole, behind the number of its channel.
fn input() -> Result<Message, Box<dyn Error>> {
    let mut bytes = vec![0];
    std::io::stdin().read_to_end(&mut bytes)?;
    Ok(Message::binary(bytes))
}

/// Reads the next message of a channel; `None` at the end.
fn next(socket: &mut Socket) -> Result<Option<Content>, Box<dyn Error>> {
    loop {
        match socket.read() {
            Ok(Message::Binary(bytes)) if !bytes.is_empty() => {
                return Ok(Some((bytes[0], bytes[1..].to_vec())));
            }
            Ok(Message::Close(_)) => return Ok(None),
            Ok(_) => {}
            Err(tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed) => return Ok(None),
            // Go's server closes the connection without the closing handshake.
            Err(tungstenite::Error::Protocol(
                tungstenite::error::ProtocolError::ResetWithoutClosingHandshake,
            )) => {
                return Ok(None);
            }
            Err(e) => return Err(e.into()),
        }
    }
}

/// Joins an exec or attach session and returns the exit status.
pub fn session(url: &str) -> Result<u8, Box<dyn Error>> {
    let mut socket = connect(url, "v4.channel.k8s.io")?;
    let input = input()?;
    if input.len() > 1 {
        socket.send(input)?;
    }
    let mut result = None;
    while let Some((channel, bytes)) = next(&mut socket)? {
        match channel {
            1 => std::io::stdout().write_all(&bytes)?,
            2 => std::io::stderr().write_all(&bytes)?,
            3 => result = Some(serde_json::from_slice::<Value>(&bytes)?),
            other => return Err(format!("a message on channel {other}").into()),
        }
    }
    let result = result.ok_or("the session ended without a result")?;
    if result["status"] == "Success" {
        return Ok(0);
    }
    let causes = result["details"]["causes"].as_array().into_iter().flatten();
    let code = causes.filter(|c| c["reason"] == "ExitCode").find_map(|c| c["message"].as_str());
    match code {
        Some(code) => Ok(code.parse()?),
        None => Err(format!("the session failed: {result}").into()),
    }
}

/// Sends standard input to a forwarded port and prints the answer.
pub fn forward(url: &str, port: &str) -> Result<(), Box<dyn Error>> {
    let port = port.parse::<u16>()?.to_le_bytes();
    let mut socket = connect(url, "v4.channel.k8s.io")?;
    socket.send(input()?)?;
    let mut announced = [false; 2];
    while let Some((channel, bytes)) = next(&mut socket)? {
        let first =
            announced.get_mut(usize::from(channel)).ok_or(format!("a message on channel {channel}"))?;
        if !std::mem::replace(first, true) {
            if bytes != port {
                return Err(format!("channel {channel} is announced as {bytes:?}").into());
            }
            continue;
        }
        match channel {
            0 => std::io::stdout().write_all(&bytes)?,
            _ => return Err(String::from_utf8_lossy(&bytes).into_owned().into()),
        }
    }
    Ok(())
}
