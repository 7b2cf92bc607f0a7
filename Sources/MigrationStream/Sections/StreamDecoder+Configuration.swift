extension StreamDecoder {
    /// Whether the block list holds guest addresses.
    var hasGuestAddresses: Bool { options.ignoresSharedMemory ?? hasCapability(StreamCapability.ignoreShared) }

    /// Whether the block list holds mapped-ram headers.
    var hasMappedRAM: Bool { options.mapsRAM ?? hasCapability(StreamCapability.mappedRAM) }

    private func hasCapability(_ name: String) -> Bool {
        configuration.contains { subsection in
            if case .capabilities(let names) = subsection { names.contains(name) } else { false }
        }
    }

    /// Decodes the configuration section behind its type byte, without its subsections.
    @_lifetime(reader: copy reader)
    mutating func decodeConfiguration(_ reader: inout StreamReader) throws(StreamError) -> StreamElement {
        let lengthOffset = reader.offset
        let length = Int(try reader.readUInt32("the machine name's length"))
        guard length <= 255 else {
            throw .limitExceeded(
                field: "length of the machine's name", offset: lengthOffset, limit: 255, found: UInt64(length))
        }
        let name = try reader.readText(length, "machine's name")
        machine = name
        state = .configuration
        return .configuration(machine: name)
    }

    /// Decodes a subsection of the configuration section behind its type byte.
    @_lifetime(reader: copy reader)
    mutating func decodeConfigurationSubsection(
        _ reader: inout StreamReader, ended: Bool
    ) throws(StreamError) -> StreamElement {
        let nameOffset = reader.offset
        let name = try reader.readName("name of a configuration subsection")
        guard configuration.count < 16, !configuration.contains(where: { $0.name == name }) else {
            throw .misplaced(item: "second subsection \(name)", offset: nameOffset)
        }
        let subsection: ConfigurationSubsection
        switch name {
        case "configuration/target-page-bits":
            try reader.expectUInt32(1, "version of \(name)")
            let bits = try reader.readUInt32(name)
            guard (12...16).contains(bits) else {
                throw .limitExceeded(field: name, offset: reader.offset - 4, limit: 16, found: UInt64(bits))
            }
            subsection = .targetPageBits(bits)
            pageByteCount = 1 << Int(bits)
        case "configuration/capabilities":
            try reader.expectUInt32(1, "version of \(name)")
            subsection = .capabilities(try decodeCapabilities(&reader))
        case "configuration/uuid":
            try reader.expectUInt32(1, "version of \(name)")
            let high = try reader.readUInt64(name)
            let low = try reader.readUInt64(name)
            subsection = .uuid(MachineUUID(high: high, low: low))
        default:
            let version = try reader.readUInt32("version of \(name)")
            let contents = try decodeUnknownSubsection(&reader, name: name, ended: ended)
            subsection = .unknown(name: name, version: version, contents: contents)
        }
        configuration.append(subsection)
        return .configurationSubsection(subsection)
    }

    @_lifetime(reader: copy reader)
    private func decodeCapabilities(_ reader: inout StreamReader) throws(StreamError) -> [String] {
        let count = Int(try reader.readUInt32("number of capabilities"))
        guard count <= limits.maximumCapabilityCount else {
            throw .limitExceeded(
                field: "number of capabilities", offset: reader.offset - 4, limit: limits.maximumCapabilityCount,
                found: UInt64(count))
        }
        var names: [String] = []
        for _ in 0..<count { names.append(try reader.readName("capability")) }
        return names
    }

    /// Finds the end of a subsection of unknown length: the first place where an item of the stream can begin.
    @_lifetime(reader: copy reader)
    private func decodeUnknownSubsection(
        _ reader: inout StreamReader, name: String, ended: Bool
    ) throws(StreamError) -> [UInt8] {
        let start = reader.position
        let limit = limits.maximumConfigurationByteCount
        for end in start...max(start, reader.bytes.byteCount) {
            guard end - start <= limit else {
                throw .unboundedSection(name, offset: reader.baseOffset + start, limit: limit)
            }
            let plausibility = plausibilityOfItem(in: reader.bytes, at: end, isInConfiguration: true, ended: ended)
            switch plausibility {
            case .plausible: return try reader.readBytes(end - start, name)
            case .needsMore(let count): throw .truncated(part: name, offset: reader.offset, missing: count)
            case .implausible: continue
            }
        }
        throw .truncated(part: name, offset: reader.baseOffset + reader.bytes.byteCount, missing: 1)
    }
}
