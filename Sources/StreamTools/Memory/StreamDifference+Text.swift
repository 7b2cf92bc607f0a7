public import MigrationStream

extension StreamDifference {
    /// The differences for a person: `<` is the first stream, `>` the second.
    public var text: String {
        var text = ""
        if let machines { text += "machine\n  < \(machines.left)\n  > \(machines.right)\n" }
        for block in blocks {
            text += "memory \(block.name)\n"
            if block.leftByteCount != block.rightByteCount {
                text += "  < \(size(block.leftByteCount))\n  > \(size(block.rightByteCount))\n"
            }
            if block.pageCount > 0 {
                text += block.pageCount == 1 ? "  1 page differs\n" : "  \(block.pageCount) pages differ\n"
                for range in block.ranges {
                    let count = range.count / 4096
                    let pages = count == 1 ? "" : ", \(count) pages"
                    text += "  \(hexadecimal(range.lowerBound))..<\(hexadecimal(range.upperBound))\(pages)\n"
                }
            }
        }
        for device in devices {
            text += "device \(device.name) instance \(device.instance)\n"
            if let reason = device.reason { text += "  \(reason)\n" }
            for field in device.fields {
                text += "  \(field.path)\n    < \(field.left ?? "(absent)")\n    > \(field.right ?? "(absent)")\n"
            }
        }
        return text
    }

    private func size(_ byteCount: Int?) -> String { byteCount.map { ByteCount($0).description } ?? "(absent)" }

    /// The differences for a program.
    public var json: JSONValue {
        .object([
            .init("same", .boolean(isEmpty)),
            .init("machines", machines.map { .array([.string($0.left), .string($0.right)]) } ?? .null),
            .init("blocks", .array(blocks.map(\.json))), .init("devices", .array(devices.map(\.json))),
        ])
    }
}

extension StreamDifference.Block {
    fileprivate var json: JSONValue {
        .object([
            .init("name", .string(name)), .init("left-bytes", leftByteCount.map { .number($0) } ?? .null),
            .init("right-bytes", rightByteCount.map { .number($0) } ?? .null),
            .init("differing-pages", .number(pageCount)),
            .init("ranges", .array(ranges.map { .array([.number($0.lowerBound), .number($0.upperBound)]) })),
        ])
    }
}

extension StreamDifference.Device {
    fileprivate var json: JSONValue {
        .object([
            .init("name", .string(name)), .init("instance", .number(Int(instance))),
            .init("reason", reason.map { .string($0) } ?? .null),
            .init(
                "fields",
                .array(
                    fields.map {
                        .object([
                            .init("path", .string($0.path)), .init("left", $0.left.map { .string($0) } ?? .null),
                            .init("right", $0.right.map { .string($0) } ?? .null),
                        ])
                    })),
        ])
    }
}
