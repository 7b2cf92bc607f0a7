import MigrationStream

extension StreamSummary {
    var headline: String {
        let name =
            switch kind {
            case .recovery: "recovery of a post-copy"
            case .preempt: "preempt channel"
            default: "migration" + (machine.map { " of a \($0)" } ?? "")
            }
        return "\(name), \(counted(byteCount, "byte")), \(counted(sections.count, "section")), "
            + counted(pageRecordCount, "page record")
            + (kind == .migration && !hasEndMark ? ", without its end" : "")
    }

    func text(_ options: SummaryOptions) -> String {
        var text = headline + "\n"
        for subsection in configuration { text += "  \(Self.text(of: subsection))\n" }
        text += blockText + commandText + sectionText(options) + deviceText(options)
        if let descriptionProblem { text += "description: \(descriptionProblem)\n" }
        return text
    }

    private static func text(of subsection: ConfigurationSubsection) -> String {
        switch subsection {
        case .targetPageBits(let bits): "target page bits \(bits)"
        case .capabilities(let names): "capabilities " + names.joined(separator: ", ")
        case .uuid(let uuid): "uuid \(uuid)"
        case .unknown(let name, let version, let contents):
            "\(name) version \(version), \(contents.count) bytes"
        }
    }

    private var blockText: String {
        guard !blocks.isEmpty else { return "" }
        var table = TextTable(
            [
                "block", "size", "pages", "plain", "zero", "xbzrle", "compressed", "mapped", "never sent", "address",
                "host page",
            ],
            [.left] + [TextTable.Alignment](repeating: .right, count: 10))
        for block in blocks {
            table.append([
                block.name, block.usedByteCount.map { ByteCount($0).description } ?? "",
                block.pageCount.map(String.init) ?? "", unlessZero(block.plainPageCount),
                unlessZero(block.zeroPageCount), unlessZero(block.xbzrlePageCount),
                unlessZero(block.compressedPageCount), unlessZero(block.mappedPageCount),
                unlessZero(block.unsentPageCount ?? 0), block.guestAddress.map { "0x" + String($0, radix: 16) } ?? "",
                block.hostPageByteCount.map { ByteCount(Int(clamping: $0)).description } ?? "",
            ])
        }
        let flushes = multifdFlushCount > 0 ? "  \(multifdFlushCount) multifd flushes\n" : ""
        return "memory\n" + table.text() + flushes
    }

    private var commandText: String {
        guard !commands.isEmpty else { return "" }
        var table = TextTable(["offset", "command"], [.right, .left])
        for command in commands {
            table.append([hexadecimal(command.offset), (command.isPackaged ? "  " : "") + command.command.text])
        }
        let rest = commandCount > commands.count ? "  … \(commandCount - commands.count) more\n" : ""
        return "commands\n" + table.text() + rest
    }

    private func sectionText(_ options: SummaryOptions) -> String {
        var table = TextTable(
            ["offset", "bytes", "id", "section", "instance", "version", "parts"],
            [.right, .right, .right, .left, .right, .right, .right])
        for section in sections where options.includes(section.name) {
            table.append([
                hexadecimal(section.offset), "\(section.byteCount)", "\(section.id)",
                (section.isPackaged ? "  " : "") + section.name, "\(section.instance)", "\(section.version)",
                section.partCount > 1 ? "\(section.partCount)" : "",
            ])
        }
        return table.isEmpty ? "" : "sections\n" + table.text()
    }

    private func deviceText(_ options: SummaryOptions) -> String {
        var text = ""
        for device in devices where options.includes(device.section.name) {
            guard options.showsFields || device.problem != nil else { continue }
            text += "\(device.section.name) instance \(device.section.instance) version \(device.section.version)"
            text += ", \(device.byteCount) bytes\n"
            if let problem = device.problem { text += "  problem: \(problem)\n" }
            if options.showsFields, let values = device.values { text += values.text(indentation: 1) }
        }
        return text
    }
}

extension StreamSummary.Block {
    /// Pages of which there is no record; nil if that cannot be told.
    var unsentPageCount: Int? {
        guard mapping == nil, recordCount > 0, let pageCount, let sent = sentPages.count else { return nil }
        return pageCount - sent
    }
}

extension StreamCommand {
    /// The command in QEMU's words.
    var text: String {
        switch self {
        case .openReturnPath: "open return path"
        case .ping(let value): "ping \(value)"
        case .postcopyAdvise(let advice?):
            "post-copy advise: page sizes 0x\(String(advice.pageSizeSummary, radix: 16)), "
                + "target 0x\(String(advice.targetPageByteCount, radix: 16))"
        case .postcopyAdvise(nil): "post-copy advise"
        case .postcopyListen: "post-copy listen"
        case .postcopyRun: "post-copy run"
        case .postcopyDiscard(let discard):
            "post-copy discard \(discard.block): \(discard.ranges.count) ranges, "
                + "\(ByteCount(discard.ranges.reduce(0) { $0 + Int(clamping: $1.byteCount) }))"
        case .package(let byteCount): "package of \(byteCount) bytes"
        case .enableCOLO: "enable COLO"
        case .postcopyResume: "post-copy resume"
        case .receivedBitmap(let block): "asks for the received bitmap of \(block)"
        case .switchoverStart: "switchover start"
        case .localMemory(let blocks):
            "hands memory over: "
                + blocks.map { "\($0.block) \(ByteCount(Int(clamping: $0.byteCount)))" }.joined(separator: ", ")
        case .machineDescription(let description):
            "describes the machine to Apus: \(description.cpuCount) virtual CPUs, "
                + description.devices.joined(separator: ", ")
        }
    }
}
