import MigrationStream

/// A whole stream of a machine with two blocks of few pages and one device, made of the pages that a test names.
struct SmallStream {
    /// What is recorded of one page.
    enum Record {
        case plain(String, Int, UInt8)
        case zero(String, Int)
        case delta(String, Int, [UInt8])
        case raw([UInt8])
    }

    var firstPass: [Record] = []
    var secondPass: [Record] = []
    var clock: UInt64 = 1
    var machine = "microvm"

    static let blocks = RAMBlockTable([
        RAMBlockDescription(name: "ram", usedByteCount: 16 * 4096),
        RAMBlockDescription(name: "rom", usedByteCount: 4 * 4096),
    ])

    /// The stream as bytes.
    var bytes: [UInt8] {
        var bytes: [UInt8] = big(migrationStreamMagic) + big(3 as UInt32)
        bytes += [7] + big(UInt32(machine.utf8.count)) + Array(machine.utf8)
        bytes += [1] + big(2 as UInt32) + name("ram") + big(0 as UInt32) + big(4 as UInt32)
        bytes += big(UInt64(20 * 4096) | 4)
        for block in Self.blocks.blocks { bytes += name(block.name) + big(UInt64(block.usedByteCount ?? 0)) }
        bytes += endOfSection
        var current: String?
        for (kind, pass) in [(2 as UInt8, firstPass), (3, secondPass)] {
            bytes += [kind] + big(2 as UInt32)
            for record in pass { bytes += encode(record, &current) }
            bytes += endOfSection
        }
        bytes += [4] + big(0 as UInt32) + name("timer") + big(0 as UInt32) + big(2 as UInt32)
        bytes += big(0 as UInt64) + big(0 as UInt64) + big(clock) + [0x7E] + big(0 as UInt32) + [0]
        let json = Array(Self.description.utf8)
        return bytes + [6] + big(UInt32(json.count)) + json
    }

    static let description =
        #"{"page_size": 4096, "devices": [{"name": "timer", "instance_id": 0, "vmsd_name": "timer", "version": 2, "#
        + #""fields": [{"name": "cpu_ticks_offset", "type": "int64", "size": 8}, "#
        + #"{"name": "unused", "type": "unused_buffer", "size": 8}, "#
        + #"{"name": "cpu_clock_offset", "type": "int64", "size": 8}]}]}"#

    /// A page that `Record.plain` makes of `seed`.
    static func page(_ seed: UInt8) -> [UInt8] {
        seed == 0 ? [UInt8](repeating: 0, count: 4096) : (0..<4096).map { UInt8(truncatingIfNeeded: $0) ^ seed }
    }

    private let endOfSection: [UInt8] = big(0x10 as UInt64) + [0x7E] + big(2 as UInt32)

    private func encode(_ record: Record, _ current: inout String?) -> [UInt8] {
        switch record {
        case .plain(let block, let page, let seed): header(block, page, 8, &current) + Self.page(seed)
        case .zero(let block, let page): header(block, page, 2, &current) + [0]
        case .delta(let block, let page, let update):
            header(block, page, 0x40, &current) + [1] + big(UInt16(update.count)) + update
        case .raw(let bytes): bytes
        }
    }

    private func header(_ block: String, _ page: Int, _ flags: UInt64, _ current: inout String?) -> [UInt8] {
        let continues = current == block
        current = block
        return big(UInt64(page * 4096) | flags | (continues ? 0x20 : 0)) + (continues ? [] : name(block))
    }
}

/// The bytes of an integer, most significant first.
func big<Integer: FixedWidthInteger>(_ value: Integer) -> [UInt8] {
    withUnsafeBytes(of: value.bigEndian) { Array($0) }
}

/// One byte of length, and the text.
func name(_ text: String) -> [UInt8] { [UInt8(text.utf8.count)] + Array(text.utf8) }
