import MigrationStream

/// Decodes a recorded channel wholly and writes it again.
///
/// What goes out is encoded from the decoded values. The bytes of pages stay in the buffer into which they were read:
/// headers are encoded in front of them there, and the whole is written from there. Memory is the same for any length.
public struct StreamRewriter: ~Copyable {
    /// What to change on the way.
    public struct Options: Sendable {
        /// Turns plain pages of a main channel that hold nothing but zeros into zero records.
        public var convertsZeroPages = false

        public init(convertsZeroPages: Bool = false) { self.convertsZeroPages = convertsZeroPages }
    }

    /// Reads `input` to its end and writes it again to `output`.
    ///
    /// - Returns: what passed through.
    /// - Throws: `StreamError` where the stream is damaged; all before it has been written. `UnknownChannel` if it is
    ///   no stream at all.
    public static func rewrite(
        _ input: consuming StreamInput, to output: consuming StreamOutput, options: Options = Options()
    ) throws -> RewriteReport {
        let kind = try input.channelKind()
        switch kind {
        case .migration, .recovery, .preempt:
            let decoder = StreamDecoder(options: StreamOptions(kind: kind.streamKind ?? .migration))
            let codec = MainChannelCodec(decoder, convertsZeroPages: options.convertsZeroPages)
            var pump = ChannelPump(codec, from: input, to: output)
            try pump.run()
            return pump.report
        case .multifd:
            var pump = ChannelPump(MultifdCodec(), from: input, to: output)
            try pump.run()
            return pump.report
        case .returnPath:
            var pump = ChannelPump(ReturnPathCodec(), from: input, to: output)
            try pump.run()
            return pump.report
        }
    }
}
