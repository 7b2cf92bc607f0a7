extension StreamDecoder {
    /// Decodes an item between sections, from its type byte on.
    @_lifetime(reader: copy reader)
    mutating func decodeTop(_ reader: inout StreamReader, ended: Bool) throws(StreamError) -> StreamElement {
        let typeOffset = reader.offset
        let byte = try reader.readUInt8("a section's type")
        guard let type = SectionType(rawValue: byte) else {
            throw .unknownSectionType(offset: typeOffset, found: byte)
        }
        switch type {
        case .start, .full:
            return try decodeNamedSection(&reader, kind: type == .start ? .start : .full)
        case .part, .end:
            return try decodeContinuedSection(&reader, kind: type == .part ? .part : .end)
        case .command:
            return try decodeCommand(&reader)
        case .endOfStream:
            guard options.kind != .package else { throw .misplaced(item: "end of the stream", offset: typeOffset) }
            state = .ended
            return .endOfStream
        case .configuration:
            guard machine == nil, options.kind == .migration, startedSections.isEmpty else {
                throw .misplaced(item: "configuration section", offset: typeOffset)
            }
            return try decodeConfiguration(&reader)
        case .subsection:
            guard state == .configuration else {
                throw .misplaced(item: "subsection", offset: typeOffset)
            }
            return try decodeConfigurationSubsection(&reader, ended: ended)
        case .description:
            throw .misplaced(item: "description", offset: typeOffset)
        case .footer:
            throw .misplaced(item: "footer", offset: typeOffset)
        }
    }

    @_lifetime(reader: copy reader)
    private mutating func decodeNamedSection(
        _ reader: inout StreamReader, kind: SectionHeader.Kind
    ) throws(StreamError) -> StreamElement {
        let id = try reader.readUInt32("a section's id")
        let name = try reader.readName("a section's name")
        let instance = try reader.readUInt32("section \(name)")
        let versionOffset = reader.offset
        let version = try reader.readUInt32("section \(name)")
        let section = SectionHeader(kind: kind, id: id, name: name, instance: instance, version: version)
        let known = startedSections.count + deviceSections.count
        guard known < limits.maximumSectionCount else {
            throw .limitExceeded(
                field: "number of sections", offset: reader.offset, limit: limits.maximumSectionCount,
                found: UInt64(known + 1))
        }
        if section.isRAM, version != 4 {
            throw .unexpectedValue(
                field: "version of section ram", offset: versionOffset, expected: 4, found: UInt64(version))
        }
        if kind == .start { startedSections[id] = section }
        enter(section)
        return .section(section)
    }

    @_lifetime(reader: copy reader)
    private mutating func decodeContinuedSection(
        _ reader: inout StreamReader, kind: SectionHeader.Kind
    ) throws(StreamError) -> StreamElement {
        let idOffset = reader.offset
        let id = try reader.readUInt32("a section's id")
        var section: SectionHeader
        if let started = startedSections[id] {
            section = started
        } else if options.kind == .recovery, startedSections.isEmpty {
            // The START was on the connection that was lost. Nothing but ram goes on after a recovery.
            section = SectionHeader(kind: kind, id: id, name: "ram", instance: 0, version: 4)
            startedSections[id] = section
        } else {
            throw .unknownSection(offset: idOffset, id: id)
        }
        section.kind = kind
        enter(section)
        return .section(section)
    }

    private mutating func enter(_ section: SectionHeader) {
        self.section = section
        state = section.isRAM ? .ram : .device
        searchedByteCount = 0
    }

    @_lifetime(reader: copy reader)
    mutating func decodeFooter(_ reader: inout StreamReader) throws(StreamError) -> StreamElement {
        let id = section.id
        let name = section.name
        let start = reader.offset
        let type = try reader.readUInt8("the footer of section \(name)")
        guard type == SectionType.footer.rawValue else {
            throw .missingFooter(section: name, offset: start, found: type)
        }
        let found = try reader.readUInt32("the footer of section \(name)")
        guard found == id else {
            throw .footerMismatch(section: name, offset: start + 1, expected: id, found: found)
        }
        state = .top
        return .footer(sectionID: id)
    }

    @_lifetime(reader: copy reader)
    private mutating func decodeCommand(_ reader: inout StreamReader) throws(StreamError) -> StreamElement {
        let start = reader.offset
        let command = try StreamCommand.parse(&reader)
        switch command {
        case .package(let byteCount):
            guard options.kind != .package else { throw .misplaced(item: "package in a package", offset: start) }
            guard byteCount <= limits.maximumPackageByteCount else {
                throw .limitExceeded(
                    field: "size of a package", offset: reader.offset - 4, limit: limits.maximumPackageByteCount,
                    found: UInt64(byteCount))
            }
            let contents = try reader.readRange(byteCount, "a package")
            state = .top
            return .package(contents: contents)
        case .postcopyAdvise(let advice):
            postcopyAdvice = advice
            isPostcopyAdvised = true
        default:
            break
        }
        state = .top
        return .command(command)
    }

    @_lifetime(reader: copy reader)
    mutating func decodeDescription(_ reader: inout StreamReader) throws(StreamError) -> StreamElement {
        let lengthOffset = reader.offset
        let length = Int(try reader.readUInt32("the description's length"))
        guard length <= limits.maximumDescriptionByteCount else {
            throw .limitExceeded(
                field: "length of the description", offset: lengthOffset, limit: limits.maximumDescriptionByteCount,
                found: UInt64(length))
        }
        let json = try reader.readRange(length, "the description")
        if options.checksDescription || hasSearchedSections {
            try checkSections(against: reader.bytes.part(json), at: lengthOffset + 4)
        }
        state = .finished
        return .description(json: json)
    }
}
