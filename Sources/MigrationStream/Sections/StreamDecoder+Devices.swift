extension StreamDecoder {
    /// Decodes the state of a device: finds its end, which is not on the wire.
    @_lifetime(reader: copy reader)
    mutating func decodeDeviceState(
        _ reader: inout StreamReader, section: SectionHeader, ended: Bool
    ) throws(StreamError) -> StreamElement {
        let (length, delimitation) = try deviceStateLength(in: reader.bytes, section: section, ended: ended)
        let bytes = try reader.readRange(length, "section \(section.name)")
        if section.kind == .full {
            deviceSections.append(
                DeviceSectionRecord(
                    name: section.name, instance: section.instance, version: section.version, offset: offset,
                    byteCount: length))
        }
        state = .footer(id: section.id, name: section.name)
        return .deviceState(DevicePayload(section: section, bytes: bytes, delimitation: delimitation))
    }

    private mutating func deviceStateLength(
        in bytes: RawSpan, section: SectionHeader, ended: Bool
    ) throws(StreamError) -> (Int, DevicePayload.Delimitation) {
        let limit = limits.maximumDeviceStateByteCount
        let last = bytes.byteCount - 5
        var position = searchedByteCount
        while position <= min(last, limit) {
            guard hasFooter(of: section, in: bytes, at: position) else {
                position += 1
                continue
            }
            switch plausibilityOfItem(in: bytes, at: position + 5, ended: ended) {
            case .plausible:
                return (position, .search)
            case .implausible:
                position += 1
            case .needsMore(let count):
                searchedByteCount = position
                throw .truncated(part: "section \(section.name)", offset: offset + position, missing: count)
            }
        }
        searchedByteCount = position
        guard position <= limit else { throw .unboundedSection(section.name, offset: offset, limit: limit) }
        throw .truncated(
            part: "section \(section.name)", offset: offset + bytes.byteCount, missing: max(1, 5 - bytes.byteCount))
    }

    private func hasFooter(of section: SectionHeader, in bytes: RawSpan, at position: Int) -> Bool {
        bytes.byte(at: position) == SectionType.footer.rawValue
            && bytes.bigEndianUInt32(at: position + 1) == section.id
    }
}
