//! Unary calls with messages that are known only at run time.

use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, SerializeOptions};
use protox::Compiler;
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver};
use std::error::Error;
use std::time::Duration;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::{Request, Status};

const PROTO: &str = include_str!("../runtime.proto");
/// The longest call waits for a container to stop, on a slow host.
const TIMEOUT: Duration = Duration::from_secs(100);

/// Gives the text of the interface to the compiler.
struct OwnText;

impl FileResolver for OwnText {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        if name == "runtime.proto" {
            File::from_source(name, PROTO)
        } else {
            Err(protox::Error::file_not_found(name))
        }
    }
}

fn interface() -> Result<DescriptorPool, Box<dyn Error>> {
    let mut resolver = ChainFileResolver::new();
    resolver.add(OwnText);
    resolver.add(GoogleFileResolver::new());
    let mut compiler = Compiler::with_file_resolver(resolver);
    compiler.open_file("runtime.proto")?;
    Ok(compiler.descriptor_pool())
}

/// Encodes any message, and decodes the messages of one descriptor.
struct AnyCodec {
    reply: MessageDescriptor,
}

impl Codec for AnyCodec {
    type Encode = DynamicMessage;
    type Decode = DynamicMessage;
    type Encoder = AnyEncoder;
    type Decoder = AnyDecoder;
    fn encoder(&mut self) -> AnyEncoder {
        AnyEncoder
    }
    fn decoder(&mut self) -> AnyDecoder {
        AnyDecoder(self.reply.clone())
    }
}

struct AnyEncoder;

impl Encoder for AnyEncoder {
    type Item = DynamicMessage;
    type Error = Status;
    fn encode(&mut self, item: DynamicMessage, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        item.encode(to).map_err(|e| Status::internal(e.to_string()))
    }
}

struct AnyDecoder(MessageDescriptor);

impl Decoder for AnyDecoder {
    type Item = DynamicMessage;
    type Error = Status;
    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<DynamicMessage>, Status> {
        DynamicMessage::decode(self.0.clone(), from).map(Some).map_err(|e| Status::internal(e.to_string()))
    }
}

/// Calls a method by its name and returns the reply as JSON with all fields.
///
/// An unknown field of the request is an error.
pub fn call(socket: &str, method: &str, json: &str) -> Result<String, Box<dyn Error>> {
    let pool = interface()?;
    let all = pool.services().flat_map(|s| s.methods().collect::<Vec<_>>());
    let method = all.into_iter().find(|m| m.name() == method).ok_or(format!("unknown method {method}"))?;
    let mut reader = serde_json::Deserializer::from_str(json);
    let message = DynamicMessage::deserialize(method.input(), &mut reader)?;
    reader.end()?;
    let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let reply = runtime.block_on(async {
        let channel = tonic::transport::Endpoint::from_shared(format!("unix:{socket}"))?.connect().await?;
        let mut client = tonic::client::Grpc::new(channel);
        client.ready().await?;
        let mut request = Request::new(message);
        request.set_timeout(TIMEOUT);
        let codec = AnyCodec { reply: method.output() };
        match client.unary(request, http::uri::PathAndQuery::try_from(path)?, codec).await {
            Ok(reply) => Ok::<_, Box<dyn Error>>(reply.into_inner()),
            Err(status) => Err(format!("{:?}: {}", status.code(), status.message()).into()),
        }
    })?;
    let mut text = Vec::new();
    let options = SerializeOptions::new().skip_default_fields(false).use_proto_field_name(true);
    reply.serialize_with_options(
        &mut serde_json::Serializer::new(&mut text),
        &options.stringify_64_bit_integers(false),
    )?;
    Ok(String::from_utf8(text)?)
}
