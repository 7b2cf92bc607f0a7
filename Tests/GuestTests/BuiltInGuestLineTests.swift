import BuiltInGuest
import Testing

@Suite("Lines of the built-in guest") struct BuiltInGuestLineTests {
    private let report =
        "builtin: t=1001 dirtied=3975 checked=39754 bad=1 badregs=2 pit=199 apic=47 gap=225256"

    @Test func `a report is read field by field`() throws {
        guard case .report(let read) = BuiltInGuestLine(report) else {
            Issue.record("no report")
            return
        }
        #expect(read.milliseconds == 1001)
        #expect(read.dirtiedPageCount == 3975)
        #expect(read.checkedPageCount == 39754)
        #expect(read.badPageCount == 1)
        #expect(read.badRegisterCount == 2)
        #expect(read.timerTickCount == 199)
        #expect(read.apicTickCount == 47)
        #expect(read.gap == 225256)
        #expect(!read.isClean)
    }

    @Test func `every report cut short is no report, unless only digits of its last number are missing`() {
        for length in 0..<report.utf8.count {
            let cut = String(decoding: report.utf8.prefix(length), as: UTF8.self)
            #expect((BuiltInGuestLine(cut) != nil) == cut.contains("gap=2"), "\(cut)")
        }
    }

    @Test func `other lines are told apart`() {
        #expect(BuiltInGuestLine("SeaBIOS (version 1.16)") == nil)
        #expect(BuiltInGuestLine("builtin: touched pass=2 pages=300") == .touched(pass: 2, pageCount: 300))
        #expect(BuiltInGuestLine("builtin: error no") == .failure("error no"))
        #expect(
            BuiltInGuestLine("\rbuiltin: wrong page=7 word=9 expected=0x00ff found=0x0100\r")
                == .wrong(.init(page: 7, word: 9, expected: 255, found: 256)))
    }

    @Test func `parameters become the words the guest knows`() {
        var parameters = BuiltInGuestParameters()
        parameters.regionMebibytes = 64
        parameters.dirtyRate = .unlimited
        parameters.pattern = .hot(mebibytes: 8)
        parameters.cpuCount = 2
        parameters.seconds = 5
        parameters.ending = .powerOff
        parameters.sleepsWhenIdle = true
        #expect(
            parameters.commandLine
                == "region=64 rate=max check=200 pattern=hot hot=8 cpus=2 period=1000 end=poweroff seconds=5 idle=halt")
    }

    @Test func `the image is an ELF file for x86-64 with a PVH note`() {
        let image = BuiltInGuestImage.bytes
        #expect(Array(image[0..<4]) == [0x7F, 0x45, 0x4C, 0x46])
        #expect(image[18] == 62)
        // name size 4, description size 8, type 18 (XEN_ELFNOTE_PHYS32_ENTRY), "Xen"
        let note: [UInt8] = [4, 0, 0, 0, 8, 0, 0, 0, 18, 0, 0, 0, 0x58, 0x65, 0x6E, 0]
        #expect(Array(image[176..<192]) == note)
        #expect(image.count < 16 << 10)
    }
}
