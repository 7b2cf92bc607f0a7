public import MigrationStream

/// Why a migration ended. `description` is one sentence for a person.
public enum MigrationError: Error, CustomStringConvertible {
    case channel(ChannelError)
    /// Bytes that are no stream, on the channel at `address`.
    case stream(StreamError, address: String)
    /// What the destination's machine lacks or has beyond the source's, as a sentence.
    case machineDiffers(String)
    case machineMismatch(here: String, stream: String)
    case uuidMismatch(here: String, stream: String)
    case pageSizeMismatch(hereBits: UInt32, streamBits: UInt32)
    /// The stream uses a capability that is off or unknown here.
    case capabilityMismatch(String)
    /// A capability that is on here and not used by the stream.
    case missingCapability(String)
    case unknownConfiguration(String)
    case unknownBlock(String)
    case missingBlock(String)
    case blockSizeMismatch(String, here: Int, stream: Int)
    /// Something that a stream may hold and this migration does not use.
    case unexpected(String)
    case pageOutsideBlock(String, offset: Int, blockByteCount: Int)
    /// A channel that was expected did not come, or one came that was not expected.
    case channelMismatch(String)
    /// "Disk vda" or "RAM block x", and what is the matter with it.
    case disk(String, reason: String)
    /// What is in the way of handing memory over, as a sentence.
    case localImpossible(String)
    /// The machine could not do what it was asked for.
    case machine(String)
    /// The destination said that it failed.
    case refusedByDestination(code: UInt32, reason: String? = nil)
    case destinationEnded
    case gaveUp(Decision.Reason)
    case cancelled
    /// What is in the way of post-copy, as a sentence.
    case postcopyImpossible(String)
    /// The link of a post-copy was cut on purpose.
    case paused
    /// The connection broke when everything was sent and the destination had not answered: it may run the guest.
    case handOverUnknown(reason: String)
    /// The same, and the disks' locks could be taken back: the destination does not run the guest, and never will.
    case answerLost(reason: String)

    public var description: String {
        switch self {
        case .channel(let error): error.description
        case .stream(let error, let address): "The stream on \(address) is not valid: \(error)"
        case .machineDiffers(let sentence): sentence
        case .machineMismatch(let here, let stream): "The machine is \(here) here and \(stream) in the stream."
        case .uuidMismatch(let here, let stream): "The machine's UUID is \(here) here and \(stream) in the stream."
        case .pageSizeMismatch(let here, let stream):
            "A page has 2^\(here) bytes here and 2^\(stream) in the stream."
        case .capabilityMismatch(let name): "The stream uses capability \(name), which is off here."
        case .missingCapability(let name): "Capability \(name) is on here, and the stream does not use it."
        case .unknownConfiguration(let name): "The stream's configuration has \(name), which is not known here."
        case .unknownBlock(let name): "RAM block \(name) of the stream does not exist here."
        case .missingBlock(let name): "RAM block \(name) exists here and is not in the stream."
        case .blockSizeMismatch(let name, let here, let stream):
            "RAM block \(name) is \(size(here)) here and \(size(stream)) in the stream."
        case .unexpected(let what): "The stream has \(what), which this migration does not use."
        case .pageOutsideBlock(let name, let offset, let byteCount):
            "The page at \(offset) is outside of RAM block \(name), which has \(byteCount) bytes."
        case .channelMismatch(let what): what
        case .disk(let name, let reason): "\(name): \(reason)"
        case .localImpossible(let reason): reason
        case .machine(let reason): reason
        case .refusedByDestination(_, let reason?): "The destination could not load the guest: \(reason)"
        case .refusedByDestination(let code, nil): "The destination could not load the guest (code \(code))."
        case .destinationEnded: "The destination ended the connection before it had loaded the guest."
        case .gaveUp(let reason): "The migration was given up: \(reason.rawValue)."
        case .cancelled: "The migration was cancelled."
        case .postcopyImpossible(let reason): reason
        case .paused: "The migration was paused."
        case .answerLost(let reason):
            "The destination did not answer, and its disks were free, so the guest goes on here: \(reason)"
        case .handOverUnknown(let reason):
            "Everything was sent, and the destination did not answer, so it may run the guest: \(reason)"
        }
    }

    private func size(_ byteCount: Int) -> String {
        for (shift, unit) in [(30, "GiB"), (20, "MiB"), (10, "KiB")]
        where byteCount >= 1 << shift && byteCount & ((1 << shift) - 1) == 0 {
            return "\(byteCount >> shift) \(unit)"
        }
        return "\(byteCount) bytes"
    }
}
