import LinuxSystem

/// A recorded migration: one file, or the folder into which a relay recorded all channels.
public struct StreamSource: Sendable {
    /// One recorded channel.
    struct Channel: Sendable {
        let path: String
        let kind: ChannelKind
    }

    /// What the user named.
    public let path: String
    /// The main channel and, of a folder, everything else that the source sent, in the order of the connections.
    let channels: [Channel]

    /// Looks at the first bytes of each file. A file is read from its beginning later; a pipe cannot be looked at, and
    /// counts as a main channel.
    public init(_ path: String) throws {
        self.path = path
        guard path != "-", let names = try Folder.names(in: path) else {
            channels = [Channel(path: path, kind: .migration)]
            return
        }
        let numbers = names.compactMap { name -> Int? in
            guard name.hasPrefix("ch"), name.hasSuffix(".c2s") else { return nil }
            return Int(name.dropFirst(2).dropLast(4))
        }
        var channels: [Channel] = []
        for number in numbers.sorted() {
            var input = try StreamInput(opening: "\(path)/ch\(number).c2s")
            try input.fill(atLeast: 1)
            // A preempt channel on which nothing was sent.
            if input.unreadByteCount == 0 { continue }
            channels.append(Channel(path: input.name, kind: try input.channelKind()))
        }
        guard channels.contains(where: { $0.kind == .migration }) else { throw NoMainChannel(folder: path) }
        self.channels = channels
    }
}

/// A folder in which no main channel was recorded.
public struct NoMainChannel: Error, Equatable, CustomStringConvertible {
    public let folder: String
    public var description: String { "The folder has no chN.c2s that is a main channel." }
}
