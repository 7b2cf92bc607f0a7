/// Whether bytes can be the beginning of an item of the stream.
enum Plausibility: Equatable {
    case plausible
    case implausible
    /// It looks so as far as the bytes go; this many more would tell.
    case needsMore(Int)
}

extension StreamDecoder {
    /// Whether an item can begin at `position` of `bytes`.
    ///
    /// The length of a device section is not on the wire. This is how its end is told when its layout is not known:
    /// behind the right footer there must be something that can follow one.
    func plausibilityOfItem(
        in bytes: RawSpan, at position: Int, isInConfiguration: Bool = false, ended: Bool
    ) -> Plausibility {
        guard position < bytes.byteCount else {
            if ended { return options.kind == .package ? .plausible : .implausible }
            return options.kind == .package ? .plausible : .needsMore(1)
        }
        guard let type = SectionType(rawValue: bytes.byte(at: position)) else { return .implausible }
        switch type {
        case .endOfStream:
            guard options.kind != .package, !isInConfiguration else { return .implausible }
            // Only a description can follow. A source that waits for an answer sends nothing more: ask for nothing.
            guard position + 1 < bytes.byteCount else { return .plausible }
            return bytes.byte(at: position + 1) == SectionType.description.rawValue ? .plausible : .implausible
        case .start, .full:
            return plausibilityOfNamedSection(in: bytes, at: position + 1, ended: ended)
        case .part, .end:
            guard let missing = missing(4, in: bytes, at: position + 1) else {
                return startedSections[bytes.bigEndianUInt32(at: position + 1)] != nil ? .plausible : .implausible
            }
            return ended ? .implausible : .needsMore(missing)
        case .command:
            return plausibilityOfCommand(in: bytes, at: position + 1, ended: ended)
        case .subsection:
            guard isInConfiguration else { return .implausible }
            return plausibilityOfSubsection(in: bytes, at: position + 1, ended: ended)
        case .description, .configuration, .footer:
            return .implausible
        }
    }

    private func missing(_ count: Int, in bytes: RawSpan, at position: Int) -> Int? {
        let missing = position + count - bytes.byteCount
        return missing > 0 ? missing : nil
    }

    private func plausibilityOfNamedSection(in bytes: RawSpan, at position: Int, ended: Bool) -> Plausibility {
        if let missing = missing(5, in: bytes, at: position) { return ended ? .implausible : .needsMore(missing) }
        let length = Int(bytes.byte(at: position + 4))
        guard length > 0 else { return .implausible }
        let end = position + 5 + length
        for offset in (position + 5)..<min(end, bytes.byteCount)
        where !(0x21...0x7e).contains(bytes.byte(at: offset)) {
            return .implausible
        }
        if let missing = missing(8, in: bytes, at: end) { return ended ? .implausible : .needsMore(missing) }
        // QEMU's versions are small; 256 leaves room and still excludes text and addresses.
        return bytes.bigEndianUInt32(at: end + 4) <= 256 ? .plausible : .implausible
    }

    private func plausibilityOfCommand(in bytes: RawSpan, at position: Int, ended: Bool) -> Plausibility {
        if let missing = missing(4, in: bytes, at: position) { return ended ? .implausible : .needsMore(missing) }
        let number = bytes.bigEndianUInt16(at: position)
        let length = Int(bytes.bigEndianUInt16(at: position + 2))
        guard (1...11).contains(number) else { return .implausible }
        guard let fixed = StreamCommand.fixedLength(number) else { return length > 0 ? .plausible : .implausible }
        return length == fixed || (number == 3 && length == 0) ? .plausible : .implausible
    }

    private func plausibilityOfSubsection(in bytes: RawSpan, at position: Int, ended: Bool) -> Plausibility {
        let prefix = Array("configuration/".utf8)
        if let missing = missing(1 + prefix.count, in: bytes, at: position) {
            return ended ? .implausible : .needsMore(missing)
        }
        return bytes.hasBytes(prefix, at: position + 1) ? .plausible : .implausible
    }
}
