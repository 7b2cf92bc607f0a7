import MigrationStream

extension StreamSummary {
    func json(_ options: SummaryOptions) -> JSONValue {
        .object([
            .init("kind", .string(kind.rawValue)), .init("bytes", .number(byteCount)),
            .init("machine", machine.map { .string($0) } ?? .null),
            .init("configuration", .object(configuration.map(Self.member))),
            .init("blocks", .array(blocks.map(\.json))),
            .init("multifd-flushes", .number(multifdFlushCount)),
            .init("commands", .array(commands.map(\.json))), .init("command-count", .number(commandCount)),
            .init("sections", .array(sections.filter { options.includes($0.name) }.map(\.json))),
            .init(
                "devices",
                .array(devices.filter { options.includes($0.section.name) }.map { $0.json(options) })),
            .init("has-end-mark", .boolean(hasEndMark)),
            .init("description-bytes", descriptionByteCount.map { .number($0) } ?? .null),
            .init("description-problem", descriptionProblem.map { .string($0) } ?? .null),
            .init("failure", failure.map { .string($0) } ?? .null),
        ])
    }

    private static func member(_ subsection: ConfigurationSubsection) -> JSONValue.Member {
        let value: JSONValue =
            switch subsection {
            case .targetPageBits(let bits): .number(Int(bits))
            case .capabilities(let names): .array(names.map { .string($0) })
            case .uuid(let uuid): .string("\(uuid)")
            case .unknown(_, _, let contents): .string(contents.map { hexadecimalDigits($0) }.joined())
            }
        return .init(String(subsection.name.split(separator: "/").last ?? ""), value)
    }
}

private func hexadecimalDigits(_ byte: UInt8) -> String { (byte < 16 ? "0" : "") + String(byte, radix: 16) }

extension StreamSummary.Block {
    fileprivate var json: JSONValue {
        var members: [JSONValue.Member] = [
            .init("name", .string(name)), .init("used-bytes", usedByteCount.map { .number($0) } ?? .null),
            .init("plain-pages", .number(plainPageCount)), .init("zero-pages", .number(zeroPageCount)),
            .init("xbzrle-pages", .number(xbzrlePageCount)), .init("compressed-pages", .number(compressedPageCount)),
            .init("unsent-pages", unsentPageCount.map { .number($0) } ?? .null),
        ]
        if let hostPageByteCount { members.append(.init("host-page-bytes", .unsigned(hostPageByteCount))) }
        if let guestAddress { members.append(.init("guest-address", .unsigned(guestAddress))) }
        if let mapping {
            members.append(
                .init(
                    "mapping",
                    .object([
                        .init("bitmap-offset", .number(mapping.bitmapOffset)),
                        .init("pages-offset", .number(mapping.pagesOffset)),
                        .init("page-bytes", .number(mapping.pageByteCount)),
                        .init("pages", .number(mappedPageCount)),
                    ])))
        }
        return .object(members)
    }
}

extension StreamSummary.Command {
    fileprivate var json: JSONValue {
        .object([
            .init("offset", .number(offset)), .init("number", .number(Int(command.number))),
            .init("text", .string(command.text)), .init("packaged", .boolean(isPackaged)),
        ])
    }
}

extension StreamSummary.Section {
    fileprivate var json: JSONValue {
        .object([
            .init("name", .string(name)), .init("instance", .number(Int(instance))),
            .init("version", .number(Int(version))), .init("id", .number(Int(id))), .init("offset", .number(offset)),
            .init("bytes", .number(byteCount)), .init("parts", .number(partCount)),
            .init("packaged", .boolean(isPackaged)),
        ])
    }
}

extension DeviceStates.Device {
    fileprivate func json(_ options: SummaryOptions) -> JSONValue {
        var members: [JSONValue.Member] = [
            .init("name", .string(section.name)), .init("instance", .number(Int(section.instance))),
            .init("version", .number(Int(section.version))), .init("offset", .number(offset)),
            .init("bytes", .number(byteCount)), .init("problem", problem.map { .string($0) } ?? .null),
        ]
        if options.showsFields { members.append(.init("fields", values?.json ?? .null)) }
        return .object(members)
    }
}
