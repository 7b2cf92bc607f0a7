extension StreamError: CustomStringConvertible {
    /// One sentence for a person: what is wrong, where, and both values.
    public var description: String {
        switch self {
        case .truncated(let part, _, let missing):
            "The stream ends inside \(part), \(missing) \(missing == 1 ? "byte" : "bytes") short, at \(place)."
        case .unexpectedValue(let field, _, let expected, let found):
            "The \(field) is \(hex(found)) where \(hex(expected)) is expected, at \(place)."
        case .limitExceeded(let field, _, let limit, let found):
            "The \(field) is \(found), outside its limit of \(limit), at \(place)."
        case .invalidName(let field, _, let found?):
            "The \(field) holds the byte \(hex(UInt64(found))), which is not printable ASCII, at \(place)."
        case .invalidName(let field, _, nil):
            "The \(field) is empty at \(place)."
        case .unknownSectionType(_, let found):
            "The byte \(hex(UInt64(found))) begins no section, at \(place)."
        case .unknownSection(_, let id):
            "Section \(id) goes on at \(place) without having started."
        case .missingFooter(let section, _, let found):
            "Section \(section) is followed by \(hex(UInt64(found))) where its footer 0x7e is expected, at \(place)."
        case .footerMismatch(let section, _, let expected, let found):
            "The footer of section \(section) says \(found) where \(expected) is expected, at \(place)."
        case .sectionSizeMismatch(let section, let instance, _, let described, let found):
            "Section \(section) \(instance) at \(place) has \(found) bytes of state and \(described) in the description."
        case .unboundedSection(let section, _, let limit):
            "Section \(section) at \(place) has no end within \(limit) bytes."
        case .misplaced(let item, _):
            "There may be no \(item) at \(place)."
        case .trailingBytes(_, let count):
            "The stream goes on with \(count) or more bytes after its end at \(place)."
        case .invalidDescription(_, let reason):
            "The description at \(place) cannot be read: \(reason)."
        case .unknownCommand(_, let found):
            "Command \(found) at \(place) is not known."
        case .unknownMessage(_, let found):
            "Return path message \(found) at \(place) is not known."
        default:
            descriptionOfRAMError
        }
    }

    private var descriptionOfRAMError: String {
        switch self {
        case .unknownRAMFlags(_, let found):
            "The flags \(hex(found)) at \(place) are no RAM record."
        case .noCurrentBlock:
            "The RAM record at \(place) continues a block and none was named before it."
        case .unknownBlock(let name, _):
            "RAM block \(name) at \(place) is not in the block list."
        case .duplicateBlock(let name, _):
            "RAM block \(name) is listed a second time at \(place)."
        case .pageOutsideBlock(let name, _, let pageOffset, let usedByteCount):
            "The page \(hex(pageOffset)) at \(place) is outside of RAM block \(name) of \(usedByteCount) bytes."
        case .misalignedPage(_, let pageOffset, let pageByteCount):
            "The page offset \(hex(pageOffset)) at \(place) is not a multiple of \(pageByteCount)."
        case .blockListTotalMismatch(_, let expected, let found):
            "The RAM blocks listed until \(place) have \(found) bytes, and \(expected) were announced."
        case .invalidDelta(let reason, _):
            "The XBZRLE update at \(place) is invalid: \(reason)."
        default:
            "The stream is wrong at \(place)."
        }
    }

    private var place: String { "offset \(offset) (\(hex(UInt64(clamping: offset))))" }

    private func hex(_ value: UInt64) -> String { "0x" + String(value, radix: 16) }
}
